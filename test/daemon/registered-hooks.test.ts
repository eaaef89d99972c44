import { request } from 'node:http';

import { describe, expect, it } from 'vitest';

import type { Run } from '../../src/control/protocol.ts';
import { answerRun, connectClient } from '../support/control-client.ts';
import { type Machine, createMachine } from '../support/daemon.ts';
import { isNote } from '../support/log-lines.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { polls, stopHook } from './support.ts';

/** A client whose hook succeeds at once; answers the runs that it was asked for. */
function goodClient(machine: Machine, registration: Readonly<Record<string, unknown>>): Run[] {
  const runs: Run[] = [];
  connectClient(machine.socket, registration, (run) => {
    runs.push(run);
    void answerRun(machine.socket, run.id, { ok: true });
  });
  return runs;
}

describe('a registered hook', () => {
  it('is told of the notice like a hook of the config, and its result counts', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    await using daemon = await machine.start({
      imds: imds.url,
      config: stopHook(await machine.hook('stop'), ', order: 10'),
    });
    const client = connectClient(
      machine.socket,
      { name: 'trainer', order: 20, timeout: '5s' },
      (run) => void answerRun(machine.socket, run.id, { ok: false, detail: 'no space left' }),
    );
    expect(await client.event('registered')).toMatchObject({ data: { name: 'registered/trainer' } });
    const { id } = imds.addEvent({ notBefore: '30s' });
    const { data } = await client.event('run');
    expect(data).toMatchObject({
      attempt: 1,
      timeoutSeconds: expect.closeTo(5, 1),
      environment: {
        EVICTD_EVENT_ID: id,
        EVICTD_EVENT_TYPE: 'Preempt',
        EVICTD_HOOK: 'registered/trainer',
        EVICTD_STAGE: 'before-checkpoint',
        EVICTD_DEADLINE: expect.stringMatching(/^\d{4}-/),
        EVICTD_ATTEMPT: '1',
        EVICTD_DRILL: '0',
      },
      event: { EventId: id, EventType: 'Preempt', Resources: [imds.vmName] },
    });
    // The other one's order is lower.
    expect((await machine.hookLog()).at(-1)).toBe('stop end');
    expect(await daemon.waitForLog(isNote('hook-ended', { hook: 'registered/trainer' }))).toMatchObject({
      level: 'error',
      result: 'failed',
      reason: 'exit',
      detail: 'no space left',
    });
    // It is required unless it says otherwise.
    await daemon.waitForLog(isNote('ack-withheld'));
  });

  it('is gone with its client, and free to be registered again', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    await using daemon = await machine.start({ imds: imds.url });
    const first = connectClient(machine.socket, { name: 'trainer' });
    await first.event('registered');
    const second = connectClient(machine.socket, { name: 'trainer' });
    expect(await second.ended).toMatchObject({ code: 'name-taken' });
    first.die();
    await daemon.waitForLog(({ msg }) => msg === 'registered hook is gone');
    const runs = goodClient(machine, { name: 'trainer' });
    imds.addEvent({ notBefore: '30s' });
    await daemon.waitForLog(isNote('hook-ended', { result: 'succeeded' }));
    expect(runs).toHaveLength(1);
  });

  it.for([
    ['answers after its time', 'timeout'],
    ['dies at work', 'gone'],
  ] as const)('that %s fails, and the drain goes on', async ([, reason]) => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    await using daemon = await machine.start({ imds: imds.url });
    const runs: Run[] = [];
    const client = connectClient(machine.socket, { name: 'trainer', timeout: '200ms' }, (run) => {
      runs.push(run);
      if (reason === 'gone') client.die();
    });
    await client.event('registered');
    imds.addEvent({ notBefore: '30s' });
    await daemon.waitForLog(isNote('hook-ended', { result: 'failed', reason }));
    await daemon.waitForLog(isNote('phase', { phase: 'waiting' }));
    if (reason !== 'timeout') return;
    const { data } = await client.event('cancel');
    expect(data).toMatchObject({ reason: 'timeout' });
    await expect(answerRun(machine.socket, runs[0]?.id ?? '', { ok: true })).rejects.toMatchObject({
      code: 'no-such-run',
    });
  });

  it('joins the drain that is under way only when its stage has not begun', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    await using daemon = await machine.start({
      imds: imds.url,
      config: stopHook(await machine.hook('stop', 'until_ go')),
    });
    imds.addEvent({ notBefore: '30s' });
    await daemon.waitForLog(isNote('event-noticed'));
    const late = connectClient(machine.socket, { name: 'late' });
    expect(await late.event('registered')).toMatchObject({ data: { joinsDrain: false } });
    expect(await late.event('hello')).toMatchObject({
      data: { notice: { event: { EventType: 'Preempt' } } },
    });
    const after = connectClient(machine.socket, { name: 'after', stage: 'after-checkpoint' }, (run) => {
      void answerRun(machine.socket, run.id, { ok: true });
    });
    expect(await after.event('registered')).toMatchObject({ data: { joinsDrain: true } });
    await machine.release('go');
    await daemon.waitForLog(isNote('hook-ended', { hook: 'registered/after', result: 'succeeded' }));
    await daemon.waitForLog(isNote('phase', { phase: 'waiting' }));
    expect(late.events.filter(({ event }) => event === 'run')).toEqual([]);
  });
});

describe('many clients', () => {
  it('do not cost the drain its deadline, whatever some of them do', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    await using daemon = await machine.start({ imds: imds.url });
    const clients = Array.from({ length: 50 }, (_, index) => {
      const name = `client-${index}`;
      const order = index === 49 ? 60 : 50;
      const timeout = index === 1 ? '1s' : '20s';
      return connectClient(machine.socket, { name, order, required: false, timeout }, (run) => {
        // The first dies, the second never answers, the third answers late.
        if (index === 0) clients[0]?.die();
        else if (index === 2) setTimeout(() => void answerRun(machine.socket, run.id, { ok: true }), 300);
        else if (index !== 1) void answerRun(machine.socket, run.id, { ok: true });
      });
    });
    await Promise.all(clients.map((client) => client.event('registered')));
    imds.addEvent({ notBefore: '30s' });
    await daemon.waitForLog(isNote('ack-ended', { result: 'accepted' }));
    const ends = daemon.lines.filter(isNote('hook-ended'));
    expect(ends).toHaveLength(50);
    const failed = ends.filter(({ ['result']: result }) => result === 'failed');
    expect(failed.map(({ hook, reason }) => [hook, reason])).toEqual([
      ['registered/client-0', 'gone'],
      ['registered/client-1', 'timeout'],
    ]);
    // The last one's order comes after all others, also after the one that never answers.
    expect(ends.at(-1)).toMatchObject({ hook: 'registered/client-49', result: 'succeeded' });
  });

  it('that flood the socket do not keep the daemon from polling', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    await using daemon = await machine.start({ imds: imds.url });
    const stop = new AbortController();
    const body = 'x'.repeat(10 * 1024 * 1024);
    let sent = 0;
    const flood = () => {
      if (stop.signal.aborted) return;
      const isLarge = sent++ % 10 === 0;
      const outgoing = request(
        { socketPath: machine.socket, method: 'POST', path: '/v1/hooks', agent: false },
        (answer) => answer.resume().on('close', flood),
      );
      outgoing.on('error', flood);
      outgoing.end(isLarge ? body : '{}');
    };
    for (let client = 0; client < 20; client++) flood();
    await polls(imds, 8);
    const { id } = imds.addEvent({ notBefore: '30s' });
    await daemon.waitForLog(isNote('event-noticed', { eventId: id }));
    expect(sent).toBeGreaterThan(20);
    stop.abort();
    expect(await daemon.status()).toMatchObject({ vmName: imds.vmName });
  });
});
