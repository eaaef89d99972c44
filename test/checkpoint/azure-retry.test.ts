import { expect, test } from 'vitest';

import { systemClock, type Clock } from '../../src/base/clock.ts';
import { RETRY_DEFAULTS, withRetries, type Failure } from '../../src/checkpoint/store-retry.ts';

const LIMITS = { ...RETRY_DEFAULTS, tryTimeoutMs: 60_000 };
const { signal } = new AbortController();

/** Runs an attempt that fails with each of `failures` in turn and then succeeds; pauses are noted, not waited for. */
async function run(failures: readonly Failure[], options: { renew?: () => boolean; random?: number } = {}) {
  const pauses: number[] = [];
  const clock: Clock = {
    ...systemClock,
    timer(delayMs, fire) {
      if (delayMs === LIMITS.tryTimeoutMs) return systemClock.timer(delayMs, fire);
      pauses.push(delayMs);
      return systemClock.timer(0, fire);
    },
  };
  const left = [...failures];
  let tries = 0;
  const outcome = await withRetries(
    {
      what: 'do it',
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
    { what: 'wait', run: () => new Promise<never>(() => undefined) },
    { ...RETRY_DEFAULTS, tryTimeoutMs: 10, triesMax: 2, firstDelayMs: 1 },
    { clock: systemClock, random: Math.random, explain, renew: async () => false },
    signal,
  );
  await expect(deaf).rejects.toMatchObject({
    code: 'timeout',
    message: expect.stringContaining('after 2 tries'),
  });
});
