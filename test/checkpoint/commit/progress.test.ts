import { expect, test } from 'vitest';

import type { Clock } from '../../../src/base/clock.ts';
import { createRateMeter, createTracker } from '../../../src/checkpoint/commit/progress.ts';

function handClock() {
  let now = 0;
  const clock: Clock = {
    monotonicMs: () => now,
    wallMs: () => now,
    timer: () => ({ [Symbol.dispose]: () => undefined }),
  };
  return { clock, pass: (ms: number) => (now += ms) };
}

test('the rate counts bytes per second of sending, not of pauses, and follows a change', () => {
  const { clock, pass } = handClock();
  const meter = createRateMeter(clock);
  expect(meter.bytesPerSecond).toBeUndefined();
  const send = (bytes: number, ms: number) => {
    const end = meter.begin(bytes);
    pass(ms);
    end(true);
  };
  send(1000, 1000);
  pass(60_000);
  send(1000, 1000);
  expect(meter.bytesPerSecond).toBeCloseTo(1000);
  for (let times = 0; times < 30; times++) send(2000, 1000);
  expect(meter.bytesPerSecond).toBeGreaterThan(1900);
});

test('requests side by side add up, failed ones cost time and carry nothing', () => {
  const { clock, pass } = handClock();
  const meter = createRateMeter(clock);
  const ends = [meter.begin(500), meter.begin(500), meter.begin(500)];
  pass(500);
  for (const [index, end] of ends.entries()) end(index !== 2);
  expect(meter.bytesPerSecond).toBeCloseTo(2000);
});

test('a tracker knows what of the last scan is stored', () => {
  const tracker = createTracker();
  const tally = tracker.count();
  tally.add('a', 10, false);
  tally.add('b', 5, false);
  tally.add('c', 100, true);
  expect(tracker).toMatchObject({ files: 0, bytes: 0, bytesStored: 0 });
  tally.done();
  tracker.store('a', 4);
  tracker.store('b', 50);
  tracker.store('unknown', 7);
  expect(tracker).toMatchObject({ files: 3, bytes: 115, bytesStored: 109 });
  tracker.store('a', 4);
  expect(tracker.bytesStored).toBe(113);
  tracker.store('a', 4);
  expect(tracker.bytesStored).toBe(115);
  const next = tracker.count();
  next.add('c', 1, false);
  next.done();
  expect(tracker).toMatchObject({ files: 1, bytes: 1, bytesStored: 0 });
});
