import { describe, expect, it } from 'vitest';

import type { Clock } from '../../src/base/clock.ts';
import { systemClock } from '../../src/base/clock.ts';
import type { EventInput, FaultInput } from '../../src/mock/schema.ts';
import { createMachine } from '../support/daemon.ts';
import { isNote } from '../support/log-lines.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { polls, stopHook } from './support.ts';

const HOUR_MS = 3_600_000;

/** The guest's clocks: the wall clock is wrong, and can be stepped; the monotonic one never is. */
function wrongClock(offsetMs: number): Clock & { step(ms: number): void } {
  let offset = offsetMs;
  return {
    ...systemClock,
    wallMs: () => systemClock.wallMs() + offset,
    step: (ms) => void (offset += ms),
  };
}

/** Announces the event on a fresh VM and answers the window that the daemon counts on. */
async function windowOf(
  event: EventInput,
  fault?: FaultInput,
  clock: Clock = systemClock,
): Promise<{ windowMs: number; secondsLeft: number; acknowledged: boolean }> {
  await using imds = await startTestImds();
  await using machine = await createMachine();
  if (fault !== undefined) imds.fault(fault);
  await using daemon = await machine.start({
    imds: imds.url,
    config: stopHook(await machine.hook('stop')),
    clock,
  });
  imds.addEvent({ startedFor: '1m', ...event });
  const noticed = await daemon.waitForLog(isNote('event-noticed'));
  await daemon.waitForLog(isNote('drain-ended', { outcome: 'success' }));
  const [start = ''] = await machine.hookLog();
  return {
    windowMs: Number(noticed['windowMs']),
    secondsLeft: Number(/left=(\d+)/.exec(start)?.[1]),
    acknowledged: imds.acks().length === 1,
  };
}

/**
 * `Date` has whole seconds and the mock rounds NotBefore up, so a window of 20 s may be read as one of 21 s. It is
 * shorter by what the machine took to see the event; the windows that have to be told apart differ by 10 s.
 */
function expectWindow(windowMs: number, secondsLeft: number, seconds: number): void {
  expect(windowMs).toBeGreaterThan(seconds * 1000 - 6000);
  expect(windowMs).toBeLessThanOrEqual(seconds * 1000 + 1000);
  expect(secondsLeft).toBeGreaterThanOrEqual(seconds - 8);
  expect(secondsLeft).toBeLessThanOrEqual(seconds + 1);
}

describe.concurrent('the window of a notice', () => {
  const at = '20s';
  const cases: [string, number, EventInput, FaultInput?][] = [
    ['an RFC 1123 date', 20, { notBefore: at }],
    ['an ISO 8601 date', 20, { notBefore: at }, { kind: 'iso-dates' }],
    ['a date with the wrong weekday', 20, { notBefore: at }, { kind: 'wrong-weekday' }],
    ['more than is ever counted on', 30, { notBefore: '10m' }],
    ['an empty NotBefore', 10, { override: { NotBefore: '' } }],
    ['a NotBefore in the past', 10, { notBefore: '-1m', autoStart: false }],
    ['a NotBefore that is no date', 10, { override: { NotBefore: 'shortly' } }],
    ['a NotBefore of another type', 10, { override: { NotBefore: 17 } }],
    ['no NotBefore at all', 10, { omit: ['NotBefore'] }],
    ['all optional fields missing', 10, {}, { kind: 'missing-fields' }],
  ];
  it.for(cases)('%s: %i s', async ([, seconds, event, fault]) => {
    const { windowMs, secondsLeft, acknowledged } = await windowOf(event, fault);
    expectWindow(windowMs, secondsLeft, seconds);
    expect(acknowledged).toBe(true);
  });

  it('Started without having been Scheduled: 10 s, and there is nothing left to approve', async () => {
    const { windowMs, secondsLeft, acknowledged } = await windowOf({ status: 'Started' });
    expectWindow(windowMs, secondsLeft, 10);
    expect(acknowledged).toBe(false);
  });

  it.for([-1, 1])('is the same with a guest clock that is wrong by %i h', async (hours) => {
    const clock = wrongClock(hours * HOUR_MS);
    const { windowMs, secondsLeft } = await windowOf({ notBefore: '20s' }, undefined, clock);
    expectWindow(windowMs, secondsLeft, 20);
  });

  it.for([-1, 1])("is the same with a service's clock that is wrong by %i h", async (hours) => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    imds.shiftClock(`${hours}h`);
    await using daemon = await machine.start({ imds: imds.url });
    imds.addEvent({ notBefore: '20s' });
    const { windowMs } = await daemon.waitForLog(isNote('event-noticed'));
    expectWindow(Number(windowMs), 20, 20);
  });

  it.for([-1, 1])('keeps running evenly when the guest clock steps by %i h in a drain', async (hours) => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    const clock = wrongClock(0);
    const config = `window: { notice: 60s }
hooks:
  - { name: first, order: 1, run: [${await machine.hook('first', 'until_ go')}] }
  - { name: second, order: 2, run: [${await machine.hook('second')}] }
  - { name: hangs, order: 3, timeout: 1s, run: [${await machine.hook('hangs', 'until_ never')}] }
`;
    await using daemon = await machine.start({ imds: imds.url, config, clock });
    const began = systemClock.monotonicMs();
    imds.addEvent({ notBefore: '60s' });
    await daemon.waitForLog(isNote('event-noticed'));
    clock.step(hours * HOUR_MS);
    await polls(imds, 1);
    await machine.release('go');
    // A timeout that counted on the wall clock would end at once, or in an hour.
    const ended = await daemon.waitForLog(isNote('hook-ended', { hook: 'hangs' }));
    expect(ended).toMatchObject({ reason: 'timeout' });
    expect(Number(ended['durationMs'])).toBeGreaterThan(500);
    await daemon.waitForLog(isNote('drain-ended'));
    expect(systemClock.monotonicMs() - began).toBeLessThan(40_000);
    const lefts = (await machine.hookLog()).flatMap((line) => /left=(\d+)/.exec(line)?.[1] ?? []);
    expect(lefts).toHaveLength(3);
    for (const left of lefts) {
      expect(Number(left)).toBeGreaterThan(20);
      expect(Number(left)).toBeLessThanOrEqual(61);
    }
  });
});

describe.concurrent('a window that gets shorter', () => {
  it('ends a hook that runs earlier, and leaves time for what comes after it', async () => {
    await using imds = await startTestImds();
    await using machine = await createMachine();
    const stop = await machine.hook('stop', 'until_ never');
    const after = await machine.hook('after');
    const config = `window: { notice: 30s, urgent: 4s, reserve: 1s }
hooks:
  - { name: stop, timeout: 25s, run: [${stop}] }
  - { name: after, stage: after-checkpoint, timeout: 2s, run: [${after}] }
`;
    await using daemon = await machine.start({ imds: imds.url, config });
    const began = systemClock.monotonicMs();
    // Noticed with 30 s on the clock, and started half a second later.
    const { id } = imds.addEvent({ notBefore: '1500ms', startedFor: '1m', override: farNotBefore() });
    await daemon.waitForLog(isNote('event-noticed'));
    await daemon.waitForLog(isNote('event-tightened', { eventId: id, status: 'Started' }));
    const ended = await daemon.waitForLog(isNote('hook-ended', { hook: 'stop' }));
    expect(ended).toMatchObject({ result: 'failed', level: 'error' });
    expect(systemClock.monotonicMs() - began).toBeLessThan(20_000);
    await daemon.waitForLog(isNote('hook-ended', { hook: 'after', result: 'succeeded' }));
    await daemon.waitForLog(isNote('drain-ended', { outcome: 'failure' }));
  });
});

/** The wire says half a minute, the mock itself starts the event as told. */
function farNotBefore() {
  return { NotBefore: new Date(systemClock.wallMs() + 30_000).toUTCString() };
}
