import { describe, expect, it } from 'vitest';

import type { FaultInput } from '../../src/mock/schema.ts';
import { createMachine } from '../support/daemon.ts';
import { isMessage, isNote } from '../support/log-lines.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { polls, soon, stopHook } from './support.ts';

const FAILED = isMessage('poll failed, continuing');

describe.concurrent('whatever the metadata service answers', () => {
  const faults: [string, FaultInput, string][] = [
    ['HTML', { kind: 'html' }, 'imds-not-json'],
    ['an empty body', { kind: 'empty' }, 'imds-empty'],
    ['half a document', { kind: 'truncated' }, 'imds-not-json'],
    ['2 MB', { kind: 'huge' }, 'imds-too-large'],
    ['404', { kind: 'status', status: 404 }, 'imds-not-found'],
    ['410', { kind: 'status', status: 410 }, 'imds-updating'],
    ['429', { kind: 'status', status: 429 }, 'imds-throttled'],
    ['500', { kind: 'status', status: 500 }, 'imds-server-error'],
    ['a redirect', { kind: 'redirect', to: 'http://127.0.0.1:9/' }, 'imds-redirect'],
    ['a reset', { kind: 'reset' }, 'imds-unreachable'],
    ['a reset in the body', { kind: 'reset', after: 'body' }, 'imds-unreachable'],
  ];
  it.for(faults)('%s: it is said once, and the next notice is seen', async ([, fault, code]) => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    await using daemon = await machine.start({ imds: imds.url });
    await daemon.waitForLog(isNote('identified'));
    await polls(imds, 1);
    imds.fault(fault);
    const asked = imds.requests().length;
    await imds.waitFor(() => imds.requests().length >= asked + 4, soon());
    expect(await daemon.waitForLog(FAILED)).toMatchObject({ code, level: 'warn' });
    const { poll } = await daemon.status();
    expect(poll.consecutiveFailures).toBeGreaterThan(1);
    expect(poll.lastError).not.toBe('');
    imds.clearFaults();
    const { id } = imds.addEvent();
    await imds.waitForAck(id, soon());
    expect(await daemon.waitForLog(isMessage('polls succeed again'))).toMatchObject({ lastCode: code });
    expect(daemon.logged(FAILED)).toBe(1);
    expect(imds.acks()).toHaveLength(1);
  });

  it('one error after the other, in the middle of a drain too, changes nothing', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    const config = stopHook(await machine.hook('stop', 'until_ go'));
    await using daemon = await machine.start({ imds: imds.url, config });
    const { id } = imds.addEvent();
    await daemon.waitForLog(isNote('event-noticed'));
    for (const status of [404, 410, 429, 500, 503]) imds.fault({ kind: 'status', status, count: 2 });
    imds.fault({ kind: 'html', count: 2 });
    imds.fault({ kind: 'empty', count: 1 });
    const asked = imds.requests().length;
    await imds.waitFor(() => imds.requests().length >= asked + 5, soon());
    expect(await daemon.status()).toMatchObject({ phase: 'before-checkpoint', events: [{ id }] });
    await machine.release('go');
    await imds.waitForAck(id, soon());
    expect(daemon.logged(isNote('event-gone'))).toBe(0);
    expect(await machine.hookLog()).toHaveLength(2);
  });

  it('one broken event among good ones: the good one is served, and the broken one is mentioned once', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    await using daemon = await machine.start({ imds: imds.url });
    imds.fault({ kind: 'broken-event' });
    imds.fault({ kind: 'unknown-type' });
    imds.fault({ kind: 'missing-fields' });
    const { id } = imds.addEvent();
    await imds.waitForAck(id, soon());
    await polls(imds, 3);
    const broken = isMessage('an entry of the events document is broken, ignoring it');
    expect(await daemon.waitForLog(broken)).toMatchObject({ reason: expect.stringContaining('EventId') });
    expect(daemon.logged(broken)).toBe(1);
    expect(daemon.logged(isNote('event-ignored-type', { type: 'Levitate' }))).toBe(1);
  });

  it('a first answer that comes very late holds up neither the start nor the notice', async () => {
    await using imds = await startTestImds({ service: { firstAnswerDelay: '8s' } });
    const { id } = imds.addEvent({ notBefore: '30s' });
    await using machine = await createMachine();
    // Far shorter than the delay: only the first request's own long timeout can bear it.
    const config = 'imds: { requestTimeout: 500ms }';
    await using daemon = await machine.start({ imds: imds.url, config });
    const { phase, poll } = await daemon.status();
    expect(phase).toBe('blind');
    expect(poll.lastGoodAgoMs).toBeUndefined();
    await imds.waitForAck(id, soon());
    const { windowMs } = await daemon.waitForLog(isNote('event-noticed'));
    // The delay is gone from the window; times of day come in whole seconds.
    expect(Number(windowMs)).toBeLessThanOrEqual(23_000);
  });

  it('a poll that hangs does not delay the next one', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    const config = 'imds: { requestTimeout: 1m }';
    await using daemon = await machine.start({ imds: imds.url, config });
    await polls(imds, 2);
    imds.fault({ kind: 'hang', count: 1 });
    const asked = imds.requests().length;
    await imds.waitFor(() => imds.requests().length > asked, soon());
    imds.addEvent();
    await daemon.waitForLog(isNote('event-noticed'));
    // The one that hangs still does.
    expect((await daemon.status()).poll.consecutiveFailures).toBe(0);
    expect(daemon.logged(FAILED)).toBe(0);
  });

  it('an own name that is unknown at first: the notice waits for it, and is served once it is there', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    imds.fault({ kind: 'status', status: 404, on: 'instance' });
    await using daemon = await machine.start({ imds: imds.url });
    const { id } = imds.addEvent();
    await daemon.waitForLog(isNote('event-of-unknown-owner'));
    await daemon.waitForLog(isMessage('instance document not read, asking again'));
    await polls(imds, 3);
    expect(await daemon.status()).toMatchObject({ phase: 'identifying', events: [] });
    expect(daemon.logged(isNote('event-of-unknown-owner'))).toBe(1);
    expect(daemon.logged(FAILED)).toBe(0);
    expect(imds.acks()).toEqual([]);
    imds.clearFaults();
    await imds.waitForAck(id, soon());
    await daemon.waitForLog(isNote('identified', { vmName: 'fleet_0' }));
  });
});
