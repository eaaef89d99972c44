import { MessageChannel } from 'node:worker_threads';

import { expect, test } from 'vitest';

import { AssertionFailed } from '../../../src/base/assert.ts';
import { EvictdError } from '../../../src/base/errors.ts';
import { createPeer } from '../../../src/checkpoint/worker/peer.ts';
import type { Handlers } from '../../../src/checkpoint/worker/peer.ts';

type Calls = {
  double: (value: number) => number;
  fail: (how: 'operation' | 'assertion' | 'type') => void;
  wait: (nothing: undefined) => string;
  memory: (nothing: undefined) => { readonly own: Uint8Array<ArrayBuffer>; readonly name: string };
  count: (to: number) => number;
};
type Back = { step: (at: number) => void; ask: (question: string) => string };

function rig() {
  const { port1, port2 } = new MessageChannel();
  const steps: number[] = [];
  const reasons: unknown[] = [];
  const waiting: boolean[] = [];
  const { promise: goesOn, resolve: goOn } = Promise.withResolvers<string>();
  const given = new Uint8Array(1000);
  const handlers: Handlers<Calls> = {
    double: async (value) => value * 2,
    fail(how) {
      if (how === 'assertion') throw new AssertionFailed('impossible');
      if (how === 'type') throw new TypeError('odd');
      const cause = Object.assign(new Error('deep'), { code: 'ENOSPC' });
      throw new EvictdError('bad-thing', 'a thing is bad', { remedy: 'mend it', cause });
    },
    wait(_nothing, signal) {
      signal.addEventListener('abort', () => reasons.push(signal.reason));
      return goesOn;
    },
    memory: () => ({ own: given, name: 'x' }),
    async count(to) {
      for (let at = 1; at <= to; at++) back.tell('step', at);
      return Number(await back.call('ask', 'how many?'));
    },
  };
  const back = createPeer<Calls, Back>(port2, handlers);
  const peer = createPeer<Back, Calls>(
    port1,
    { step: (at) => void steps.push(at), ask: (question) => (question === 'how many?' ? '7' : '') },
    (isWaiting) => void waiting.push(isWaiting),
  );
  return { peer, steps, reasons, waiting, goOn, given, [Symbol.dispose]: () => port1.close() };
}

test('either side calls the other; what is told before an answer is there before it', async () => {
  using both = rig();
  expect(await both.peer.call('double', 21)).toBe(42);
  expect(await both.peer.call('count', 3)).toBe(7);
  expect(both.steps).toEqual([1, 2, 3]);
  expect(both.waiting).toEqual([true, false, true, false]);
});

test('errors keep what they are', async () => {
  using both = rig();
  const error = await both.peer.call('fail', 'operation').catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(EvictdError);
  expect(error).toMatchObject({ code: 'bad-thing', message: 'a thing is bad', remedy: 'mend it' });
  expect(error).toMatchObject({ cause: { code: 'ENOSPC', message: 'deep' } });
  await expect(both.peer.call('fail', 'assertion')).rejects.toBeInstanceOf(AssertionFailed);
  await expect(both.peer.call('fail', 'type')).rejects.toBeInstanceOf(AssertionFailed);
});

test('an abort settles a call at once, and the other side hears of it', async () => {
  using both = rig();
  const controller = new AbortController();
  const call = both.peer.call('wait', undefined, controller.signal);
  const reason = new EvictdError('aborted', 'no time', { remedy: 'none' });
  controller.abort(reason);
  await expect(call).rejects.toBe(reason);
  expect(both.peer.waiting).toBe(0);
  expect(await both.peer.call('double', 1)).toBe(2);
  expect(both.reasons).toMatchObject([{ code: 'aborted', message: 'no time', remedy: 'none' }]);
  await expect(both.peer.call('double', 1, AbortSignal.abort(reason))).rejects.toBe(reason);
});

test('a call to the end is not settled by its signal, nor by an end as long as the other side may work on it', async () => {
  using both = rig();
  const controller = new AbortController();
  const toTheEnd = both.peer.call('wait', undefined, controller.signal, { toTheEnd: true });
  const other = both.peer.call('wait', undefined);
  controller.abort(new EvictdError('aborted', 'no time'));
  both.peer.end(new EvictdError('gone', 'it ends'), { isGone: false });
  await expect(other).rejects.toMatchObject({ code: 'gone' });
  expect(both.peer.waiting).toBe(1);
  both.goOn('done');
  expect(await toTheEnd).toBe('done');
  await expect(both.peer.call('double', 1)).rejects.toMatchObject({ code: 'gone' });
});

test('with the other side gone every call rejects', async () => {
  using both = rig();
  const call = both.peer.call('wait', undefined, undefined, { toTheEnd: true });
  both.peer.end(new EvictdError('gone', 'it is gone'), { isGone: true });
  await expect(call).rejects.toMatchObject({ code: 'gone' });
  expect(both.waiting).toEqual([true, false]);
});

test('memory of its own moves with an answer', async () => {
  using both = rig();
  const { own, name } = await both.peer.call('memory', undefined);
  expect([own.length, name, both.given.length]).toEqual([1000, 'x', 0]);
});
