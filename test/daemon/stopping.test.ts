import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { describeStatus } from '../../src/cli/status-text.ts';
import { createMachine } from '../support/daemon.ts';
import { startEvictd } from '../support/evictd-process.ts';
import { isMessage, isNote } from '../support/log-lines.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { polls, soon, stopHook } from './support.ts';

describe.concurrent('asked to stop', () => {
  it('ends at once when nothing is to be drained', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    await using daemon = await machine.start({ imds: imds.url });
    await daemon.waitForLog(isNote('identified'));
    await daemon.stop();
    expect(daemon.lines.slice(-2).map(({ msg }) => msg)).toEqual(['asked to stop', 'evictd stopped']);
  });

  it('ends at once too while the metadata service hangs', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    imds.fault({ kind: 'hang', on: 'all' });
    await using daemon = await machine.start({ imds: imds.url });
    await daemon.stop();
    expect(daemon.lines.at(-1)).toMatchObject({ msg: 'evictd stopped' });
  });

  it('finishes the drain first, acknowledgement included', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    const config = stopHook(await machine.hook('stop', 'until_ go'));
    await using daemon = await machine.start({ imds: imds.url, config });
    const { id } = imds.addEvent();
    await daemon.waitForLog(isNote('event-noticed'));
    daemon.terminate();
    await daemon.waitForLog(isMessage('asked to stop, finishing the drain first'));
    await polls(imds, 2);
    expect((await daemon.status()).phase).toBe('before-checkpoint');
    await machine.release('go');
    await daemon.ended;
    expect(imds.acks().map(({ eventId }) => eventId)).toEqual([id]);
    expect(await machine.hookLog()).toHaveLength(2);
    expect(daemon.logged(isNote('drain-ended', { outcome: 'success' }))).toBe(1);
  });

  it('and started again after the drain does nothing twice', async () => {
    await using imds = await startTestImds({ service: { startAfterAck: '1m' } });
    await using machine = await createMachine();
    const config = stopHook(await machine.hook('stop'));
    const { id } = imds.addEvent({ autoStart: false });
    {
      await using daemon = await machine.start({ imds: imds.url, config });
      await daemon.waitForLog(isNote('drain-ended'));
      await daemon.stop();
    }
    await using again = await machine.start({ imds: imds.url, config });
    await again.waitForLog(isNote('drain-resumed', { phase: 'waiting' }));
    await polls(imds, 3);
    expect(await machine.hookLog()).toHaveLength(2);
    expect(imds.acks().map(({ eventId }) => eventId)).toEqual([id]);
    expect(again.logged(isNote('event-noticed'))).toBe(0);
  });

  it('by SIGTERM, the process ends with 0, after the drain when there is one', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    await machine.configure({
      imds: imds.url,
      config: stopHook(await machine.hook('stop', 'until_ go')),
    });
    await using daemon = startEvictd(['run', '--config', machine.configFile]);
    const { id } = imds.addEvent();
    await daemon.line('event-noticed');
    const ended = daemon.stop();
    await daemon.line('asked to stop, finishing the drain first');
    process.kill(daemon.pid, 'SIGTERM');
    await polls(imds, 2);
    await machine.release('go');
    expect(await ended).toEqual({ code: 0, signal: null });
    expect(imds.acks().map(({ eventId }) => eventId)).toEqual([id]);
  });
});

describe.concurrent('started with the journal of an earlier process', () => {
  it('of the same boot, killed in a drain: runs what was running again as attempt 2, and nothing that had ended', async ({
    expect,
  }) => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    const first = await machine.hook('first');
    const second = await machine.hook('second', 'until_ go');
    const config = `hooks: [{ name: first, order: 1, run: [${first}] }, { name: second, order: 2, run: [${second}] }]`;
    await machine.configure({ imds: imds.url, config });
    const { id } = imds.addEvent();
    {
      await using killed = startEvictd(['run', '--config', machine.configFile]);
      await killed.line('hook-ended', { hook: 'first' });
      await expect.poll(() => machine.hookLog()).toHaveLength(3);
      await killed.kill();
    }
    await using daemon = startEvictd(['run', '--config', machine.configFile]);
    await daemon.line('drain-resumed', { phase: 'before-checkpoint' });
    await expect.poll(() => machine.hookLog()).toHaveLength(4);
    await machine.release('go');
    await daemon.line('drain-ended', { outcome: 'success' });
    expect(imds.acks().map(({ eventId }) => eventId)).toEqual([id]);
    const told = (await machine.hookLog()).map((line) => line.replace(/ type=.*(?= attempt)| left=.*/g, ''));
    expect(told).toEqual([
      'first start attempt=1',
      'first end',
      'second start attempt=1',
      'second start attempt=2',
      'second end',
    ]);
  });

  it('of an earlier boot: closes the drain, runs the on-resume hooks, and watches', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    const resume = await machine.hook('resume');
    const config =
      `${stopHook(await machine.hook('stop'))}  - { name: resume, stage: on-resume, run: [${resume}] }`
        .replace('hooks: [', 'hooks:\n  - ')
        .replace(' }]\n', ' }\n');
    const { id } = imds.addEvent({ autoStart: false });
    {
      await using before = await machine.start({ imds: imds.url, config });
      await before.waitForLog(isNote('drain-ended'));
      await before.stop();
    }
    imds.withdraw(id);
    const file = join(machine.stateDir, 'journal.json');
    const journal = await readFile(file, 'utf8');
    await writeFile(file, journal.replace(/"bootId":"[^"]*"/, '"bootId":"another"'));
    await using daemon = await machine.start({ imds: imds.url, config });
    await daemon.waitForLog(isNote('drain-closed-by-reboot', { eventId: id }));
    const resuming = await daemon.waitForLog(isNote('phase', { phase: 'resuming' }));
    // Times of the earlier boot would be taken for times of this one.
    expect(resuming).not.toHaveProperty('leftMs');
    const status = await daemon.status();
    expect(status).toMatchObject({ phase: 'resuming', drain: { eventId: id, outcome: 'success' } });
    expect(status.drain).not.toHaveProperty('leftMs');
    expect(describeStatus(status)).toMatch(/^drain +success\nhook /m);
    await machine.release('go');
    await daemon.waitForLog(isNote('watching-again'));
    const starts = (await machine.hookLog()).filter((line) => line.includes(' start '));
    expect(starts.map((line) => line.split(' ')[0])).toEqual(['stop', 'resume']);
    const next = imds.addEvent();
    await imds.waitForAck(next.id, soon());
  });

  it('that can not be read: says so, sets it aside, starts, and drains', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    await mkdir(machine.stateDir);
    const file = join(machine.stateDir, 'journal.json');
    await writeFile(file, '{"version":1,"bootId":"x","state":{"watched":');
    await using daemon = await machine.start({ imds: imds.url });
    const said = await daemon.waitForLog(
      isMessage('journal unreadable, set aside, continuing with an empty one'),
    );
    expect(said).toMatchObject({
      level: 'error',
      file,
      reason: expect.stringContaining('JSON'),
      setAside: `${file}.unreadable`,
      remedy: expect.any(String),
    });
    const { id } = imds.addEvent();
    await imds.waitForAck(id, soon());
    expect(await readFile(`${file}.unreadable`, 'utf8')).toContain('"bootId":"x"');
    expect(JSON.parse(await readFile(file, 'utf8'))).toMatchObject({ version: 1 });
  });

  it('in a folder that can not be written: says so once, and drains all the same', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    // Below a file not even root can make a folder.
    const config = `state: { dir: ${machine.configFile}/state }\n${stopHook(await machine.hook('stop'))}`;
    await using daemon = await machine.start({ imds: imds.url, config });
    const { id } = imds.addEvent();
    await imds.waitForAck(id, soon());
    await polls(imds, 4);
    const said = daemon.lines.filter(({ level }) => level === 'error').map(({ msg }) => msg);
    expect(said).toEqual([
      'state can not be kept, continuing: a restart in a drain would not know of it',
      'state not kept, continuing',
    ]);
    expect(await machine.hookLog()).toHaveLength(2);
  });
});
