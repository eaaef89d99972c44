import { getEventListeners } from 'node:events';

import { expect, test } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import { createRequestWindow } from '../../src/checkpoint/request-window.ts';
import { never } from '../support/checkpoints.ts';

interface Service {
  readonly underWay: () => number;
  readonly ask: (signal?: AbortSignal) => Promise<void>;
  /** Answers all that is under way, `ms` later. */
  readonly round: (ms: number) => Promise<void>;
  readonly settled: () => Promise<unknown>;
}

/** Requests that are answered when the test says so, at a time that it says. */
function service(roomMax = 100): Service {
  let nowMs = 0;
  const answers: (() => void)[] = [];
  const window = createRequestWindow({ roomMax }, { clock: { ...systemClock, monotonicMs: () => nowMs } });
  const settled = () => new Promise((resolve) => setImmediate(resolve));
  return {
    underWay: () => answers.length,
    ask: (signal = new AbortController().signal) =>
      window.run(signal, () => new Promise<void>((resolve) => answers.push(resolve))),
    async round(ms: number) {
      nowMs += ms;
      for (const answer of answers.splice(0)) answer();
      await settled();
    },
    settled,
  };
}

test('doubles with each round trip while latency takes the time, up to its limit', async () => {
  const { ask, round, underWay, settled } = service(60);
  const all = Promise.all(Array.from({ length: 400 }, () => ask()));
  await settled();
  const seen: number[] = [];
  while (underWay() > 0) {
    seen.push(underWay());
    await round(20);
  }
  await all;
  expect(seen.slice(0, 5)).toEqual([12, 24, 48, 60, 60]);
});

test('stays as it is where answers take longer because of each other', async () => {
  const { ask, round, underWay, settled } = service();
  const first = ask();
  await settled();
  await round(1);
  await first;
  const all = Promise.all(Array.from({ length: 100 }, () => ask()));
  await settled();
  for (let rounds = 0; rounds < 9; rounds++) {
    expect(underWay()).toBeLessThanOrEqual(12);
    await round(12);
  }
  await all;
});

test('who waits leaves at the abort and takes no room; a failed request gives its room back', async () => {
  const { ask, round, underWay, settled } = service(1);
  const controller = new AbortController();
  const first = ask();
  const second = ask(controller.signal);
  const third = ask();
  await settled();
  controller.abort(new Error('enough'));
  await expect(second).rejects.toThrow('enough');
  expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
  await expect(ask(controller.signal)).rejects.toThrow('enough');
  await round(1);
  await first;
  expect(underWay()).toBe(1);
  await round(1);
  await third;

  const window = createRequestWindow({ roomMax: 1 }, { clock: systemClock });
  const { signal } = new AbortController();
  await expect(window.run(signal, () => Promise.reject(new Error('broken')))).rejects.toThrow('broken');
  await expect(window.run(signal, async () => 'next')).resolves.toBe('next');
});

test('a refusal halves the room once for all that were under way, and then it grows by about one with each round', async () => {
  let nowMs = 0;
  const answers: ((isRefused: boolean) => void)[] = [];
  const window = createRequestWindow(
    { roomMax: 100 },
    { clock: { ...systemClock, monotonicMs: () => nowMs } },
  );
  const all = Array.from({ length: 200 }, () =>
    window.run(
      never(),
      () => new Promise<boolean>((resolve) => answers.push(resolve)),
      (isRefused) => isRefused,
    ),
  );
  const refusals = [false, true, false, false, false, true];
  const seen: number[] = [];
  const next = async () => {
    await new Promise((resolve) => setImmediate(resolve));
    seen.push(answers.length);
    return answers.length > 0;
  };
  while (await next()) {
    nowMs += 20;
    const isRefused = refusals.shift() ?? false;
    for (const answer of answers.splice(0)) answer(isRefused);
  }
  await Promise.all(all);
  expect(seen.slice(0, 7)).toEqual([12, 24, 12, 12, 13, 14, 7]);
});

test('a request without an answer gives its room to others', async () => {
  let isLate: (() => void) | undefined;
  const timer = (_: number, fire: () => void) => {
    isLate = fire;
    return { [Symbol.dispose]: () => undefined };
  };
  const window = createRequestWindow({ roomMax: 1 }, { clock: { ...systemClock, timer } });
  const { promise: silence, resolve } = Promise.withResolvers<string>();
  const stuck = window.run(never(), () => silence);
  const next = window.run(never(), async () => 'next');
  await new Promise((resolved) => setImmediate(resolved));
  isLate?.();
  expect(await next).toBe('next');
  resolve('at last');
  expect(await stuck).toBe('at last');
  expect(await window.run(never(), async () => 'more')).toBe('more');
});
