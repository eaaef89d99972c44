import { expect, test } from 'vitest';

import type { Clock } from '../../../src/base/clock.ts';
import { EvictdError } from '../../../src/base/errors.ts';
import { createTokenSource, type FetchedToken } from '../../../src/checkpoint/store/azure/token.ts';

const OPTIONS = { attemptMs: 10_000 };
/** Half of the life of a token that lives for an hour, less a margin of 10 s. */
const RENEW_MS = (3_600_000 - 10_000) / 2;
const { signal } = new AbortController();

/** A clock that only moves when told, and an endpoint that answers when told. */
function harness() {
  let now = 1000;
  let timers: { at: number; fire: () => void }[] = [];
  const calls: PromiseWithResolvers<FetchedToken>[] = [];
  const clock: Clock = {
    monotonicMs: () => now,
    wallMs: () => 0,
    timer(delayMs, fire) {
      const timer = { at: now + delayMs, fire };
      timers.push(timer);
      return { [Symbol.dispose]: () => void (timers = timers.filter((other) => other !== timer)) };
    },
  };
  const fetcher = {
    fetch() {
      const call = Promise.withResolvers<FetchedToken>();
      calls.push(call);
      return call.promise;
    },
  };
  const tokens = createTokenSource(OPTIONS, { clock, fetcher });
  return {
    tokens,
    calls,
    timers: () => timers.map(({ at }) => at - now),
    advance: async (ms: number) => {
      now += ms;
      const due = timers.filter(({ at }) => at <= now);
      timers = timers.filter(({ at }) => at > now);
      for (const { fire } of due) fire();
      await settled();
    },
    answer: async (token: string, lifeMs = 3_600_000) => {
      calls.at(-1)?.resolve({ token, lifeMs });
      await settled();
    },
    refuse: async () => {
      calls.at(-1)?.reject(new EvictdError('no-token', 'no token for the managed identity'));
      await settled();
    },
  };
}

/** Lets every promise that can settle do so: immediates run after all of them. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

test('a token in memory is given at once; while there is none, all who ask wait for one request', async () => {
  const { tokens, calls, answer } = harness();
  const asked = [tokens.token(signal), tokens.token(signal), tokens.token(signal)];
  await answer('t1');
  expect(await Promise.all(asked)).toEqual(['t1', 't1', 't1']);
  expect(await tokens.token(signal)).toBe('t1');
  expect(calls).toHaveLength(1);
});

test('an endpoint that never answers costs one attempt', async () => {
  const { tokens, advance, calls, answer } = harness();
  const [outcome] = await Promise.all([
    Promise.allSettled([tokens.token(signal)]),
    advance(OPTIONS.attemptMs),
  ]);
  const reason = { code: 'no-token', message: expect.stringContaining('10000 ms') };
  expect(outcome).toMatchObject([{ status: 'rejected', reason }]);
  const again = tokens.token(signal);
  await answer('t2');
  expect(await again).toBe('t2');
  expect(calls).toHaveLength(2);
});

test('an abort ends the wait of who aborted, not of the others', async () => {
  const { tokens, answer } = harness();
  const controller = new AbortController();
  const mine = tokens.token(controller.signal);
  const other = tokens.token(signal);
  controller.abort(new Error('enough'));
  await expect(mine).rejects.toThrow('enough');
  await answer('t1');
  expect(await other).toBe('t1');
});

test('the background renews long before the end and keeps the valid token when that fails', async () => {
  const { tokens, calls, answer, refuse, advance, timers } = harness();
  tokens.start();
  await answer('t1');
  expect(timers()).toEqual([RENEW_MS]);
  await advance(RENEW_MS);
  await refuse();
  expect(tokens.lastError()).toMatchObject({ code: 'no-token' });
  expect(await tokens.token(signal)).toBe('t1');
  expect(timers()).toEqual([1000]);
  await advance(1000);
  await refuse();
  expect(timers()).toEqual([2000]);
  await advance(2000);
  await answer('t2');
  expect(tokens.lastError()).toBeUndefined();
  expect(tokens.current()).toBe('t2');
  expect(timers()).toEqual([RENEW_MS]);
  expect(calls).toHaveLength(4);
  tokens.stop();
  expect(timers()).toEqual([]);
});

test('a token is not used past its end, however long nobody asked', async () => {
  const { tokens, answer, advance } = harness();
  const first = tokens.token(signal);
  await answer('t1', 120_000);
  await first;
  await advance(120_000);
  expect(tokens.current()).toBeUndefined();
  const second = tokens.token(signal);
  await answer('t2');
  expect(await second).toBe('t2');
});

test('a token that a wrong clock takes for expired is used all the same when it was just issued', async () => {
  const { tokens, answer } = harness();
  const asked = tokens.token(signal);
  await answer('t1', -3_600_000);
  await asked;
  expect(tokens.current()).toBe('t1');
});

test('renew says whether the endpoint had another token, and asks for none that is there already', async () => {
  const { tokens, answer, calls } = harness();
  const first = tokens.token(signal);
  await answer('t1');
  await first;
  const same = tokens.renew('t1', signal);
  await answer('t1');
  expect(await same).toBe(false);
  const other = tokens.renew('t1', signal);
  await answer('t2');
  expect(await other).toBe(true);
  expect(await tokens.renew('t1', signal)).toBe(true);
  expect(calls).toHaveLength(3);
});

test('after a stop nothing goes on, and a start begins anew', async () => {
  const { tokens, answer, timers, calls } = harness();
  tokens.start();
  tokens.stop();
  await answer('late');
  expect(timers()).toEqual([]);
  tokens.start();
  await answer('t2');
  expect(calls).toHaveLength(2);
  expect(timers()).toEqual([RENEW_MS]);
  tokens.stop();
});
