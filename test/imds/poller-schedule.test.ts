import { expect, test } from 'vitest';

import { EvictdError } from '../../src/base/errors.ts';
import { startPoller } from '../../src/imds/poller.ts';
import type { Poll } from '../../src/imds/scheduled-events.ts';
import { manualClock } from './support.ts';

/** A poller on a clock moved by hand, whose answers are given by hand: each request by its number, from 0. */
function start(options: { requestTimeoutMs?: number; longTimeoutMs?: number } = {}) {
  const clock = manualClock();
  const asked: {
    at: number;
    timeoutMs: number;
    signal: AbortSignal;
    settle: (result: Poll | EvictdError) => void;
  }[] = [];
  const events: string[] = [];
  const poller = startPoller(
    { intervalMs: 1000, requestTimeoutMs: 3000, longTimeoutMs: 150_000, ...options },
    {
      clock,
      client: {
        get: (timeoutMs, signal) =>
          new Promise<Poll>((resolve, reject) => {
            const settle = (result: Poll | EvictdError) =>
              result instanceof EvictdError ? reject(result) : resolve(result);
            asked.push({ at: clock.monotonicMs(), timeoutMs, signal, settle });
            signal.addEventListener('abort', () => reject(new EvictdError('aborted', 'given up')));
          }),
      },
      onPoll: (poll, receivedAt) => events.push(`poll ${poll.document.incarnation} at ${receivedAt}`),
      onFailure: (error) => events.push(error.code),
    },
  );
  return {
    clock,
    asked,
    events,
    poller,
    sentAt: () => asked.map(({ at }) => at),
    answer: async (number: number) => {
      asked[number]?.settle(pollOf(number));
      await clock.advance(0);
    },
    fail: async (number: number) => {
      asked[number]?.settle(new EvictdError('imds-timeout', 'too late'));
      await clock.advance(0);
    },
  };
}

function pollOf(incarnation: number): Poll {
  return {
    document: { incarnation, serverNow: undefined, events: [], brokenIds: [], complete: true },
    dropped: [],
    latencyMs: 1,
    apiVersion: '2020-07-01',
  };
}

test('answers in time: one request at each tick, without drift', async () => {
  const { clock, answer, sentAt, events } = start();
  for (let number = 0; number < 4; number++) {
    await clock.advance(90);
    await answer(number);
    await clock.advance(910);
  }
  expect(sentAt()).toEqual([0, 1000, 2000, 3000, 4000]);
  expect(events).toEqual(['poll 0 at 90', 'poll 1 at 1090', 'poll 2 at 2090', 'poll 3 at 3090']);
});

test('a slow answer does not move the next requests', async () => {
  const { clock, answer, sentAt } = start();
  await answer(0);
  await clock.advance(2000);
  expect(sentAt()).toEqual([0, 1000, 2000]);
  await answer(2);
  await clock.advance(1000);
  expect(sentAt()).toEqual([0, 1000, 2000, 3000]);
});

test('a tick that finds two in flight sends nothing, but as soon as one of them is over', async () => {
  const { clock, answer, fail, sentAt, poller } = start();
  await answer(0);
  await clock.advance(3500);
  expect(sentAt()).toEqual([0, 1000, 2000]);
  expect(poller.health().inFlight).toBe(2);
  await fail(1);
  expect(sentAt()).toEqual([0, 1000, 2000, 3500]);
  await clock.advance(1500);
  // The ticks at 4 and 5 s found two again, and owe one request between them.
  expect(sentAt()).toHaveLength(4);
  await answer(2);
  expect(sentAt()).toEqual([0, 1000, 2000, 3500, 5000]);
  expect(poller.health().inFlight).toBe(2);
});

test('before the first good answer one of the two may take long, and each short one makes way', async () => {
  const { clock, asked, fail, poller } = start();
  await clock.advance(1000);
  expect(asked.map(({ timeoutMs }) => timeoutMs)).toEqual([150_000, 3000]);
  await clock.advance(3000);
  await fail(1);
  expect(asked.map(({ timeoutMs }) => timeoutMs)).toEqual([150_000, 3000, 3000]);
  expect(asked[0]?.signal.aborted).toBe(false);
  expect(poller.health()).toMatchObject({ inFlight: 2, consecutiveFailures: 1, lastGoodAt: undefined });
});

test('a long one that fails early is followed by another long one', async () => {
  const { clock, asked, fail } = start();
  await fail(0);
  await clock.advance(1000);
  expect(asked.map(({ timeoutMs }) => timeoutMs)).toEqual([150_000, 150_000]);
});

test('a short one that is answered first ends the long one, silently', async () => {
  const { clock, asked, answer, events, poller } = start();
  await clock.advance(1000);
  await answer(1);
  expect(asked[0]?.signal.aborted).toBe(true);
  expect(poller.health()).toMatchObject({ inFlight: 0, lastGoodAt: 1000, consecutiveFailures: 0 });
  await clock.advance(2000);
  expect(asked.slice(2).map(({ timeoutMs }) => timeoutMs)).toEqual([3000, 3000]);
  expect(events).toEqual(['poll 1 at 1000']);
});

test('30 s without a good answer bring the long one back', async () => {
  const { clock, asked, answer, fail } = start();
  await answer(0);
  for (let number = 1; asked.length <= 31; number++) {
    await clock.advance(1000);
    await fail(number);
  }
  const long = asked.filter(({ timeoutMs }) => timeoutMs === 150_000).map(({ at }) => at);
  expect(long).toEqual([0, 31_000]);
});

test('an answer to a request sent before the newest delivered one is dropped', async () => {
  const { clock, answer, events } = start();
  await answer(0);
  await clock.advance(2000);
  await answer(2);
  await answer(1);
  await clock.advance(1000);
  await answer(3);
  expect(events).toEqual(['poll 0 at 0', 'poll 2 at 2000', 'poll 3 at 3000']);
});

test('a failure of an older request is told, but does not make the service look bad', async () => {
  const { clock, answer, fail, events, poller } = start();
  await answer(0);
  await clock.advance(2000);
  await answer(2);
  await fail(1);
  expect(events.at(-1)).toBe('imds-timeout');
  expect(poller.health().consecutiveFailures).toBe(0);
});

test('after stop no request goes out and nothing is called', async () => {
  const { clock, asked, answer, events, poller } = start();
  await clock.advance(1000);
  const stopped = poller.stop();
  await answer(1);
  await stopped;
  await clock.advance(60_000);
  expect(asked).toHaveLength(2);
  expect(events).toEqual([]);
});
