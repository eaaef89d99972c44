import { getEventListeners } from 'node:events';

import { expect, test } from 'vitest';

import { systemClock } from '../../../src/base/clock.ts';
import { createConcurrencyLimit, type Permit } from '../../../src/checkpoint/store/concurrency-limit.ts';

const { signal } = new AbortController();
const settled = () => new Promise((resolve) => setImmediate(resolve));

/** Requests that are answered when the test says so, at a time that it says. */
function service(requestsMax = 100) {
  let nowMs = 0;
  let underWay: Permit[] = [];
  const clock = { ...systemClock, monotonicMs: () => nowMs };
  const limit = createConcurrencyLimit({ requestsMax }, { clock });
  return {
    underWay: () => underWay.length,
    ask: (wish: AbortSignal = signal) => limit.acquire(0, wish).then((place) => void underWay.push(place)),
    /** Answers all that is under way, `ms` later. */
    round: async (ms: number, how: Parameters<Permit['release']>[0]) => {
      nowMs += ms;
      const places = underWay;
      underWay = [];
      for (const place of places) place.release(how);
      await settled();
    },
  };
}

test('doubles with each round trip while latency takes the time, up to its limit', async () => {
  const { ask, round, underWay } = service(60);
  const all = Promise.all(Array.from({ length: 400 }, () => ask()));
  await settled();
  const seen: number[] = [];
  while (underWay() > 0) {
    seen.push(underWay());
    await round(20, 'answered');
  }
  await all;
  expect(seen.slice(0, 5)).toEqual([12, 24, 48, 60, 60]);
});

test('stays as it is where answers take longer because of each other, and where requests fail', async () => {
  const { ask, round, underWay } = service();
  await ask();
  await round(1, 'answered');
  const all = Promise.all(Array.from({ length: 200 }, () => ask()));
  await settled();
  for (let rounds = 0; rounds < 17; rounds++) {
    expect(underWay()).toBeLessThanOrEqual(12);
    await round(rounds % 2 === 0 ? 12 : 1, rounds % 2 === 0 ? 'answered' : 'failed');
  }
  await all;
});

test('who waits leaves at the abort and takes no place', async () => {
  const { ask, round, underWay } = service(1);
  const controller = new AbortController();
  await ask();
  const second = ask(controller.signal);
  const third = ask();
  controller.abort(new Error('enough'));
  await expect(second).rejects.toThrow('enough');
  expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
  await expect(ask(controller.signal)).rejects.toThrow('enough');
  await round(1, 'answered');
  await third;
  expect(underWay()).toBe(1);
});

test('a refusal halves the limit once for all that were under way, and then it grows by about one with each round', async () => {
  const { ask, round, underWay } = service();
  const all = Promise.all(Array.from({ length: 200 }, () => ask()));
  await settled();
  const refusals = [false, true, false, false, false, true];
  const seen: number[] = [];
  while (underWay() > 0) {
    seen.push(underWay());
    await round(20, refusals.shift() === true ? 'refused' : 'answered');
  }
  await all;
  expect(seen.slice(0, 7)).toEqual([12, 24, 12, 12, 13, 14, 7]);
});

test('a request without an answer gives its place to others, later where much is on its way', async () => {
  const waits: { delayMs: number; fire: () => void }[] = [];
  const timer = (delayMs: number, fire: () => void) => {
    waits.push({ delayMs, fire });
    return { [Symbol.dispose]: () => undefined };
  };
  const limit = createConcurrencyLimit({ requestsMax: 1 }, { clock: { ...systemClock, timer } });
  const stuck = await limit.acquire(8000, signal);
  const next = limit.acquire(0, signal);
  await settled();
  expect(waits.map(({ delayMs }) => delayMs)).toEqual([10_000]);
  waits[0]?.fire();
  const place = await next;
  stuck.release('answered');
  let isIn = false;
  const third = limit.acquire(0, signal).then((entered) => {
    isIn = true;
    return entered;
  });
  await settled();
  expect(isIn).toBe(false);
  place.release('answered');
  (await third).release('answered');
});
