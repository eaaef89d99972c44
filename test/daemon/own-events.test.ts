import { describe, expect, it, vi } from 'vitest';

import { createMachine } from '../support/daemon.ts';
import { isMessage, isNote } from '../support/log-lines.ts';
import type { LogLine } from '../support/log-lines.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { polls, soon, stopHook } from './support.ts';

describe.concurrent('events of this VM and of others', () => {
  it("does nothing for another VM's eviction", async () => {
    await using imds = await startTestImds({ vm: { name: 'fleet_2' } });
    await using machine = await createMachine();
    const hook = await machine.hook('stop');
    await using daemon = await machine.start({ imds: imds.url, config: stopHook(hook) });
    await daemon.waitForLog(isNote('identified', { vmName: 'fleet_2' }));
    imds.addEvent({ resources: ['fleet_1', 'fleet_22'] });
    await polls(imds, 6);
    expect(await machine.hookLog()).toEqual([]);
    expect(imds.acks()).toEqual([]);
    expect((await daemon.status()).phase).toBe('watching');
    expect(daemon.logged(isNote('event-noticed'))).toBe(0);
  });

  it('drains and acknowledges for its own name in another case', async () => {
    await using imds = await startTestImds({ vm: { name: 'Fleet_2' } });
    await using machine = await createMachine();
    const hook = await machine.hook('stop');
    await using daemon = await machine.start({ imds: imds.url, config: stopHook(hook) });
    const { id } = imds.addEvent({ resources: ['fLEET_2'] });
    await imds.waitForAck(id, soon());
    await daemon.waitForLog(isNote('ack-ended', { result: 'accepted' }));
    expect(await machine.hookLog()).toEqual([
      expect.stringMatching(/^stop start type=Preempt stage=before-checkpoint attempt=1 left=2[0-9]$/),
      'stop end',
    ]);
  });

  it('drains for an event that names others too, but leaves the acknowledgement to nobody', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    const hook = await machine.hook('stop');
    await using daemon = await machine.start({ imds: imds.url, config: stopHook(hook) });
    imds.addEvent({ resources: ['fleet_9', 'self'] });
    const withheld = await daemon.waitForLog(isNote('ack-withheld'));
    expect(withheld).toMatchObject({ reason: 'shared', level: 'info' });
    await daemon.waitForLog(isNote('drain-ended', { outcome: 'success' }));
    await polls(imds, 3);
    expect(await machine.hookLog()).toHaveLength(2);
    expect(imds.acks()).toEqual([]);
  });

  it('acknowledges an event that names others too where the config allows it', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    await using daemon = await machine.start({ imds: imds.url, config: 'events: { ackShared: true }' });
    const { id } = imds.addEvent({ resources: ['fleet_9', 'self'] });
    await imds.waitForAck(id, soon());
    await daemon.waitForLog(isNote('drain-ended', { outcome: 'success' }));
    expect(imds.acks()).toHaveLength(1);
  });

  it('serves a Terminate and a Preempt that comes during its drain with one drain, and acknowledges both', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    const stop = await machine.hook('stop', 'until_ go');
    const only = await machine.hook('only');
    const config = `hooks: [{ name: stop, run: [${stop}] }, { name: only, on: [Preempt], run: [${only}] }]`;
    await using daemon = await machine.start({ imds: imds.url, config });
    const terminate = imds.addEvent({ type: 'Terminate', notBefore: '5m' });
    await daemon.waitForLog(isNote('event-noticed', { eventId: terminate.id }));
    const preempt = imds.addEvent();
    await daemon.waitForLog(isNote('event-merged', { eventId: preempt.id }));
    const { drain } = await daemon.status();
    expect(drain?.leftMs).toBeLessThanOrEqual(30_000);
    expect(imds.acks()).toEqual([]);
    await machine.release('go');
    await imds.waitForAck(terminate.id, soon());
    await imds.waitForAck(preempt.id, soon());
    await daemon.waitForLog(isNote('drain-ended', { outcome: 'success' }));
    expect(imds.acks()).toHaveLength(2);
    const starts = (await machine.hookLog()).filter((line) => line.includes(' start '));
    expect(starts.map((line) => line.split(' ')[0])).toEqual(expect.arrayContaining(['stop', 'only']));
    expect(starts).toHaveLength(2);
    // Each is told of the event that it was configured for.
    expect(
      starts
        .map((line) => line.split(' ')[2])
        .toSorted((one, other) => ((one ?? '') < (other ?? '') ? -1 : 1)),
    ).toEqual(['type=Preempt', 'type=Terminate']);
  });

  it('tells a hook of an event of its drain, not of one whose window is over', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    const stop = await machine.hook('stop', '[ "$EVICTD_EVENT_TYPE" = Terminate ] || exit 1');
    const only = await machine.hook('only', 'echo "told of $EVICTD_EVENT_ID"');
    const config = `window: { urgent: 2s, reserve: 1s }
hooks: [{ name: stop, required: true, run: [${stop}] }, { name: only, on: [Preempt], run: [${only}] }]`;
    await using daemon = await machine.start({ imds: imds.url, config });
    const told = (id: string) => (line: LogLine) => line['text'] === `told of ${id}`;
    const over = imds.addEvent({ omit: ['NotBefore'], startedFor: '1m' });
    await daemon.waitForLog(told(over.id));
    await daemon.waitForLog(isNote('drain-ended', { outcome: 'failure' }));
    const isOver = async () => expect((await daemon.status()).drain?.leftMs).toBeLessThan(1000);
    await vi.waitFor(isOver, { timeout: 30_000 });
    const terminate = imds.addEvent({ type: 'Terminate', notBefore: '5m' });
    const preempt = imds.addEvent();
    await imds.waitForAck(terminate.id, soon());
    await daemon.waitForLog(told(preempt.id));
    expect(daemon.logged(told(over.id))).toBe(1);
  });

  it('says once that it ignores an unknown type, over many polls', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    await using daemon = await machine.start({ imds: imds.url });
    imds.addEvent({ type: 'Levitate', notBefore: '10m' });
    imds.fault({ kind: 'unknown-fields' });
    await daemon.waitForLog(isNote('event-ignored-type', { type: 'Levitate' }));
    await polls(imds, 6);
    expect(daemon.logged(isNote('event-ignored-type'))).toBe(1);
    expect(daemon.logged(isMessage('poll failed, continuing'))).toBe(0);
    const { id } = imds.addEvent();
    await imds.waitForAck(id, soon());
    expect(imds.acks()).toHaveLength(1);
  });
});
