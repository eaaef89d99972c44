import { expect, test, vi } from 'vitest';

import { systemClock, type Clock } from '../../../src/base/clock.ts';
import { createConcurrencyLimit } from '../../../src/checkpoint/store/concurrency-limit.ts';
import { RETRY_DEFAULTS, withRetries, type Failure } from '../../../src/checkpoint/store/retry.ts';

const LIMITS = { ...RETRY_DEFAULTS, tryTimeoutMs: 60_000 };
const HEDGE_AFTER_MS = 2000;
const { signal } = new AbortController();
const limit = createConcurrencyLimit({ requestsMax: 64 }, { clock: systemClock });

/** Runs an attempt that fails with each of `failures` in turn and then succeeds; pauses are noted, not waited for. */
async function run(failures: readonly Failure[], options: { renew?: () => boolean; random?: number } = {}) {
  const pauses: number[] = [];
  const clock: Clock = {
    ...systemClock,
    timer(delayMs, fire) {
      if (delayMs === LIMITS.tryTimeoutMs || delayMs === HEDGE_AFTER_MS)
        return systemClock.timer(delayMs, fire);
      pauses.push(delayMs);
      return systemClock.timer(0, fire);
    },
  };
  const left = [...failures];
  let tries = 0;
  const outcome = await withRetries(
    {
      what: 'do it',
      hedgeAfterMs: HEDGE_AFTER_MS,
      async run() {
        tries++;
        if (left.length > 0) throw new Error('explained by the next failure');
        return 'done';
      },
    },
    LIMITS,
    {
      clock,
      random: () => options.random ?? 1,
      explain: () => left.shift() ?? fail('refused', { kind: 'never' }),
      renew: async () => options.renew?.() ?? false,
      hedges: { count: 0 },
      limit,
    },
    signal,
  ).catch((error: unknown) => error);
  return { outcome, pauses, tries };
}

function fail(code: Failure['code'], retry: Failure['retry']): Failure {
  return { code, reason: 'a reason', remedy: 'a remedy', retry };
}

test('pauses double up to their limit, with up to half of each taken off at random', async () => {
  const failures = Array.from({ length: 4 }, () => fail('unavailable', { kind: 'backoff' }));
  expect((await run(failures)).pauses).toEqual([100, 200, 400, 800]);
  expect((await run(failures, { random: 0 })).pauses).toEqual([50, 100, 200, 400]);
});

test('a connection that was closed while idle costs no pause, twice in a row it does', async () => {
  const reset = fail('network', { kind: 'at-once' });
  expect(await run([reset, reset])).toMatchObject({ outcome: 'done', pauses: [0, 200] });
});

test('a refused credential is renewed once', async () => {
  const refused = fail('unauthenticated', { kind: 'renewed' });
  expect(await run([refused], { renew: () => true })).toMatchObject({
    outcome: 'done',
    tries: 2,
    pauses: [],
  });
  expect(await run([refused], { renew: () => false })).toMatchObject({
    outcome: { code: 'unauthenticated' },
    tries: 1,
  });
  const twice = await run([refused, refused], { renew: () => true });
  expect(twice).toMatchObject({ outcome: { code: 'unauthenticated' }, tries: 2 });
  const broken = () => {
    throw new Error('no answer');
  };
  expect(await run([refused], { renew: broken })).toMatchObject({ outcome: { code: 'unauthenticated' } });
});

test('what can’t be helped is not tried again, and keeps its remedy', async () => {
  expect(await run([fail('forbidden', { kind: 'never' })])).toMatchObject({
    outcome: { code: 'forbidden', message: 'could not do it: a reason', remedy: 'a remedy' },
    tries: 1,
  });
});

test('work that ignores its signal is left behind when its time is over', async () => {
  const explain = () => fail('refused', { kind: 'never' });
  const deaf = withRetries(
    { what: 'wait', hedgeAfterMs: HEDGE_AFTER_MS, run: () => new Promise<never>(() => undefined) },
    { ...RETRY_DEFAULTS, tryTimeoutMs: 10, triesMax: 2, firstDelayMs: 1 },
    {
      clock: systemClock,
      random: Math.random,
      explain,
      renew: async () => false,
      hedges: { count: 0 },
      limit,
    },
    signal,
  );
  await expect(deaf).rejects.toMatchObject({
    code: 'timeout',
    message: expect.stringContaining('after 2 tries'),
  });
});

test('a time that a busy server names is the same for all, so it is stretched', async () => {
  const busy = fail('throttled', { kind: 'after', delayMs: 1000 });
  expect((await run([busy, busy], { random: 0 })).pauses).toEqual([1000, 1000]);
  expect((await run([busy, busy], { random: 0.5 })).pauses).toEqual([1250, 1250]);
  const now = fail('throttled', { kind: 'after', delayMs: 0 });
  expect((await run([now, now], { random: 0.5 })).pauses).toEqual([50, 100]);
});

test('tries that a busy server refuses are not counted with the others, but they end', async () => {
  const busy = fail('throttled', { kind: 'after', delayMs: 10 });
  const broken = fail('unavailable', { kind: 'backoff' });
  const mixed = [...Array.from({ length: 20 }, () => busy), broken, broken];
  expect(await run(mixed)).toMatchObject({ outcome: 'done', tries: 23 });
  const never = Array.from({ length: 99 }, () => busy);
  expect(await run(never)).toMatchObject({ outcome: { code: 'throttled' }, tries: 25 });
});

interface Hedged {
  readonly outcome: Promise<unknown>;
  /** Settles the run with that number; from 1. */
  readonly settle: (number: number, error?: string) => void;
  readonly numbers: readonly number[];
  readonly signals: readonly AbortSignal[];
}

/** An attempt whose runs end when the test says so; what is waited for comes at once. */
function runHedged(hedges = { count: 0 }): Hedged {
  const runs: { done(): void; fail(error: Error): void }[] = [];
  const numbers: number[] = [];
  const signals: AbortSignal[] = [];
  const clock: Clock = {
    ...systemClock,
    timer: (delayMs, fire) => systemClock.timer(delayMs === LIMITS.tryTimeoutMs ? delayMs : 0, fire),
  };
  const outcome = withRetries(
    {
      what: 'do it',
      hedgeAfterMs: HEDGE_AFTER_MS,
      run: (runSignal) =>
        new Promise((resolve, reject) => {
          const number = numbers.push(numbers.length + 1);
          signals.push(runSignal);
          runs.push({ done: () => resolve(number), fail: reject });
        }),
    },
    { ...LIMITS, triesMax: 2 },
    {
      clock,
      random: () => 0,
      explain: (error) => fail('network', { kind: String(error).includes('never') ? 'never' : 'backoff' }),
      renew: async () => false,
      hedges,
      limit,
    },
    signal,
  ).catch((error: unknown) => error);
  const settle = (number: number, error?: string) =>
    error === undefined ? runs[number - 1]?.done() : runs[number - 1]?.fail(new Error(error));
  return { outcome, settle, numbers, signals };
}

const began = (hedged: Hedged, count: number) => vi.waitFor(() => expect(hedged.numbers).toHaveLength(count));

test('a try without an answer gets a second one beside it, and who comes too late is aborted', async () => {
  for (const winner of [1, 2]) {
    const count = { count: 0 };
    const hedged = runHedged(count);
    await began(hedged, 2);
    expect(count.count).toBe(1);
    let isOver = false;
    void hedged.outcome.then(() => (isOver = true));
    hedged.settle(winner);
    await vi.waitFor(() => expect(hedged.signals.every(({ aborted }) => aborted)).toBe(true));
    await new Promise((resolve) => setImmediate(resolve));
    // It may still be sending from memory that the caller means to use again.
    expect(isOver).toBe(false);
    hedged.settle(3 - winner, 'never');
    expect(await hedged.outcome).toBe(winner);
    expect(count.count).toBe(0);
  }
});

test('the failure of one of two waits for the other, and a refusal that it may have caused is not final', async () => {
  const first = runHedged();
  await began(first, 2);
  first.settle(1, 'never');
  first.settle(2);
  expect(await first.outcome).toBe(2);
  const both = runHedged();
  await began(both, 2);
  both.settle(2, 'lost');
  both.settle(1, 'never');
  await began(both, 4);
  both.settle(3);
  both.settle(4, 'never');
  expect(await both.outcome).toBe(3);
});

test('few second tries run at a time; the others’ turn comes', async () => {
  const count = { count: 2 };
  const hedged = runHedged(count);
  await new Promise((resolve) => setImmediate(resolve));
  expect(hedged.numbers).toEqual([1]);
  count.count = 1;
  await began(hedged, 2);
  hedged.settle(2);
  hedged.settle(1, 'never');
  expect(await hedged.outcome).toBe(2);
});

test('a try that is refused by a busy server leaves less room for others, an answered one doesn\u2019t', async () => {
  const left: string[] = [];
  const noting = { acquire: async () => ({ release: (how: string) => void left.push(how) }) };
  const failures = [fail('throttled', { kind: 'backoff' }), fail('network', { kind: 'backoff' })];
  const dependencies = {
    clock: systemClock,
    random: () => 0,
    explain: () => failures.shift() ?? fail('refused', { kind: 'never' }),
    renew: async () => false,
    hedges: { count: 0 },
    limit: noting,
  };
  const attempt = {
    what: 'do it',
    hedgeAfterMs: HEDGE_AFTER_MS,
    async run() {
      if (failures.length > 0) throw new Error('explained by the next failure');
    },
  };
  await withRetries(attempt, { ...LIMITS, firstDelayMs: 1 }, dependencies, signal);
  expect(left).toEqual(['refused', 'failed', 'answered']);
});

test('a refused try gives up on the other one, whose answer would have come by now', async () => {
  const hedged = runHedged();
  await began(hedged, 2);
  hedged.settle(2, 'never');
  await vi.waitFor(() => expect(hedged.signals.every(({ aborted }) => aborted)).toBe(true));
  hedged.settle(1, 'aborted');
  expect(await hedged.outcome).toMatchObject({ message: 'could not do it: a reason' });
  expect(hedged.numbers).toHaveLength(2);
});
