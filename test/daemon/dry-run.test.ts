import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { startRawServer } from '../imds/support.ts';
import { createMachine } from '../support/daemon.ts';
import { startEvictd } from '../support/evictd-process.ts';
import { isMessage, isNote } from '../support/log-lines.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { polls } from './support.ts';

/** Every file and folder below with its size, mode and times, and the content of files. */
async function snapshot(folder: string): Promise<string[]> {
  const names = await readdir(folder, { recursive: true });
  const lines = ['.', ...names].sort().map(async (name) => {
    const { mode, mtimeMs, ctimeMs, ino, isFile } = await facts(join(folder, name));
    const content = isFile ? await readFile(join(folder, name), 'base64') : '';
    return `${name} ${mode} ${mtimeMs} ${ctimeMs} ${ino} ${content}`;
  });
  return Promise.all(lines);
}

async function facts(path: string) {
  const stats = await stat(path);
  const { mode, mtimeMs, ctimeMs, ino } = stats;
  return { mode, mtimeMs, ctimeMs, ino, isFile: stats.isFile() };
}

/** A VM with everything that a drain would use, and a store that notes who asks. */
async function prepared() {
  const machine = await createMachine();
  const data = join(machine.folder, 'data');
  await mkdir(data);
  await writeFile(join(data, 'weights.bin'), 'precious');
  await mkdir(machine.hooksDir, { mode: 0o755 });
  const stop = await machine.hook('stop');
  const resume = await machine.hook('resume');
  await machine.hook('hooks.d/10-first');
  const store = await startRawServer((_, response) => response.writeHead(500).end());
  const config = `hooks:
  - { name: stop, run: [${stop}] }
  - { name: resume, stage: on-resume, run: [${resume}] }
checkpoint:
  store: { url: "${store.url}/devstoreaccount1/container", auth: { kind: azurite } }
  sets: [{ name: job, path: ${data} }]
`;
  return { machine, store, config, data };
}

describe.concurrent('a dry run', () => {
  it('goes through a whole drain, says each step, and changes nothing anywhere', async () => {
    await using imds = await startTestImds();
    const { machine, store, config, data } = await prepared();
    await using _ = machine;
    await using __ = store;
    await machine.configure({ imds: imds.url, config });
    const before = await snapshot(machine.folder);
    await using daemon = startEvictd(['run', '--config', machine.configFile, '--dry-run']);
    await daemon.line('identified');
    const { id } = imds.addEvent({ autoStart: false });
    await daemon.line('drain-ended', { outcome: 'success' });
    imds.withdraw(id);
    await daemon.line('watching-again');
    await daemon.stop();
    expect(imds.acks()).toEqual([]);
    expect(imds.requests().every(({ method }) => method === 'GET')).toBe(true);
    expect(store.seen).toEqual([]);
    expect(await snapshot(machine.folder)).toEqual(before);
    expect(await machine.hookLog()).toEqual([]);
    expect(daemon.log.filter(({ dryRun }) => dryRun !== true)).toEqual([]);
    // What never happened is told as such, the drain as it would go.
    const told = daemon.log.flatMap(({ result }) => result ?? []);
    expect(new Set(told)).toEqual(new Set(['would run', 'would commit', 'would acknowledge']));
    const would = daemon.log.filter(({ msg }) => msg.startsWith('dry run: '));
    expect(would).toMatchObject([
      { msg: 'dry run: would run the hook', hook: 'stop', stage: 'before-checkpoint' },
      { msg: 'dry run: would run the hook', hook: 'hooks.d/10-first' },
      { msg: 'dry run: would commit a checkpoint', set: 'job', path: data },
      { msg: 'dry run: would store the report of the drain', eventId: id },
      { msg: 'dry run: would acknowledge', eventId: id },
      { msg: 'dry run: would run the hook', hook: 'resume', stage: 'on-resume' },
    ]);
  });

  it('beside a daemon that runs: takes neither its socket nor its state', async () => {
    await using imds = await startTestImds();
    const { machine, store, config } = await prepared();
    await using _ = machine;
    await using __ = store;
    await using real = await machine.start({ imds: imds.url, config: 'hooksDir: /nonexistent' });
    await real.waitForLog(isNote('identified'));
    await using dry = await machine.start({ imds: imds.url, config, dryRun: true });
    const { id } = imds.addEvent({ autoStart: false });
    await dry.waitForLog(isNote('drain-ended'));
    await real.waitForLog(isNote('drain-ended'));
    await dry.stop();
    expect(await real.status()).toMatchObject({ dryRun: false, phase: 'waiting' });
    expect(imds.acks().map(({ eventId }) => eventId)).toEqual([id]);
  });

  it("decides as the daemon would: another VM's event, and one that is not acknowledged", async () => {
    await using imds = await startTestImds();
    const { machine, store, config } = await prepared();
    await using _ = machine;
    await using __ = store;
    await using daemon = await machine.start({ imds: imds.url, config, dryRun: true });
    await daemon.waitForLog(isNote('identified'));
    imds.addEvent({ resources: ['fleet_9'] });
    await polls(imds, 3);
    expect(daemon.logged(({ msg }) => msg.startsWith('dry run: '))).toBe(0);
    imds.addEvent({ resources: ['self', 'fleet_9'] });
    await daemon.waitForLog(isNote('ack-withheld', { reason: 'shared' }));
    expect(daemon.logged(isMessage('dry run: would acknowledge'))).toBe(0);
  });
});
