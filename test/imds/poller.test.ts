import { expect, test } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import type { EvictdError } from '../../src/base/errors.ts';
import { type Poller, type PollerOptions, startPoller } from '../../src/imds/poller.ts';
import type { Poll } from '../../src/imds/scheduled-events.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { deadline, startClient } from './support.ts';

interface Watch extends AsyncDisposable {
  readonly poller: Poller;
  readonly polls: readonly Poll[];
  readonly failures: readonly EvictdError[];
  /** Resolves when the condition holds; looks again at every callback. */
  until(condition: () => boolean): Promise<void>;
}

function watch(
  client: Parameters<typeof startPoller>[1]['client'],
  options: Partial<PollerOptions> = {},
): Watch {
  const polls: Poll[] = [];
  const failures: EvictdError[] = [];
  const checks = new Set<() => void>();
  const look = () => {
    for (const check of checks) check();
  };
  const poller = startPoller(
    { intervalMs: 50, requestTimeoutMs: 400, longTimeoutMs: 5000, ...options },
    {
      clock: systemClock,
      client,
      onPoll(poll) {
        polls.push(poll);
        look();
      },
      onFailure(error) {
        failures.push(error);
        look();
      },
      onSent: look,
    },
  );
  return {
    poller,
    polls,
    failures,
    until: (condition) =>
      new Promise((resolve, reject) => {
        const signal = deadline();
        signal.addEventListener('abort', () => reject(new Error('the condition never held')));
        const check = () => {
          if (condition()) resolve();
        };
        checks.add(check);
        check();
      }),
    [Symbol.asyncDispose]: () => poller.stop(),
  };
}

test('asks at once, then on its schedule, and delivers what it gets', async () => {
  await using mock = await startTestImds();
  await using client = startClient(mock.url);
  const startedAt = systemClock.monotonicMs();
  await using watched = watch(client, { intervalMs: 100 });
  expect(watched.poller.health()).toMatchObject({ inFlight: 1, lastGoodAt: undefined });
  await watched.until(() => watched.polls.length === 5);
  // Five ticks lie at 0, 100, … 400 ms; a schedule that drifts by each latency would still be late.
  expect(systemClock.monotonicMs() - startedAt).toBeGreaterThan(350);
  const health = watched.poller.health();
  expect(health.consecutiveFailures).toBe(0);
  expect(health.lastGoodAt).toBeGreaterThanOrEqual(startedAt);
});

test('a poll that hangs does not delay the next one', async () => {
  await using mock = await startTestImds();
  mock.fault({ kind: 'hang', count: 1 });
  await using client = startClient(mock.url);
  await using watched = watch(client, { requestTimeoutMs: 5000 });
  await watched.until(() => watched.polls.length === 3);
  expect(watched.failures).toEqual([]);
});

test('at most two requests are in flight, however long they hang', async () => {
  await using mock = await startTestImds();
  mock.fault({ kind: 'hang' });
  let most = 0;
  using _counting = mock.subscribe(() => {
    most = Math.max(most, mock.requests().filter((request) => request.outcome === 'open').length);
  });
  await using client = startClient(mock.url);
  await using watched = watch(client, { intervalMs: 20, requestTimeoutMs: 150 });
  await watched.until(() => watched.failures.length === 4);
  expect(watched.failures.map(({ code }) => code)).toEqual(Array.from({ length: 4 }, () => 'imds-timeout'));
  expect(watched.poller.health()).toMatchObject({ consecutiveFailures: 4, lastGoodAt: undefined });
  expect(watched.poller.health().inFlight).toBeLessThanOrEqual(2);
  // The mock may see the next one before it hears that the last one was given up.
  expect(most).toBeLessThanOrEqual(3);
  expect(most).toBeGreaterThanOrEqual(2);
});

test('a first answer that takes long is waited for by one request, with short ones beside it', async () => {
  await using mock = await startTestImds({ service: { firstAnswerDelay: '900ms' } });
  const event = mock.addEvent();
  await using client = startClient(mock.url);
  await using watched = watch(client, { requestTimeoutMs: 200, longTimeoutMs: 5000 });
  await watched.until(() => watched.polls.length === 2);
  expect(watched.polls[0]?.document.events.map(({ id }) => id)).toEqual([event.id]);
  // The short ones beside it had to give up in the meantime.
  expect(watched.failures.length).toBeGreaterThanOrEqual(2);
  expect(new Set(watched.failures.map(({ code }) => code))).toEqual(new Set(['imds-timeout']));
});

test('goes on polling through every kind of trouble', async () => {
  await using mock = await startTestImds();
  await using client = startClient(mock.url);
  for (const status of [404, 410, 429, 500]) mock.fault({ kind: 'status', status, count: 1 });
  mock.fault({ kind: 'html', count: 2 });
  await using watched = watch(client, { intervalMs: 20 });
  await watched.until(() => watched.polls.length === 1);
  expect(watched.failures.length).toBeGreaterThanOrEqual(2);
  expect(watched.poller.health().consecutiveFailures).toBe(0);
});

test('after stop nothing is sent and nothing is called', async () => {
  await using mock = await startTestImds();
  mock.fault({ kind: 'hang' });
  await using client = startClient(mock.url);
  const watched = watch(client);
  await watched.until(() => watched.poller.health().inFlight === 2);
  await watched.poller.stop();
  expect(watched.poller.health().inFlight).toBe(0);
  expect(watched.failures).toEqual([]);
  await mock.waitFor(() => mock.requests().every(({ outcome }) => outcome === 'dropped'), deadline());
});
