import type { Clock, MonotonicMs } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
import type { Poll, ScheduledEventsClient } from './scheduled-events.ts';

// INVARIANTS:
// - At most two requests are in flight, at most one of them a long one.
// - Ticks lie on startedAt + n * intervalMs, whatever requests do; ticks that could not be kept are not made up
//   for one by one: a single request is owed, and sent when a place is free.
// - Documents are delivered in the order in which they were asked for; one asked for earlier than the newest
//   delivered one is dropped.
// - A cancelled request calls nothing. After `stop` was called, no callback is called.

export interface PollerOptions {
  readonly intervalMs: number;
  readonly requestTimeoutMs: number;
  /**
   * For the one request that may wait for the service to be enabled: the first answer after boot can take two
   * minutes (learn.microsoft.com/azure/virtual-machines/linux/scheduled-events, "Enabling and disabling").
   */
  readonly longTimeoutMs?: number;
}

export interface PollerDependencies {
  readonly clock: Clock;
  readonly client: Pick<ScheduledEventsClient, 'get'>;
  onPoll(poll: Poll, receivedAtMs: MonotonicMs): void;
  onFailure(error: EvictdError): void;
  /** A request has gone out. */
  onSent?(): void;
}

export interface PollerHealth {
  readonly lastSentAt: MonotonicMs | undefined;
  readonly lastGoodAt: MonotonicMs | undefined;
  /** Failures of requests sent after the newest good one. */
  readonly consecutiveFailures: number;
  readonly inFlight: number;
}

export interface Poller {
  /** Ends the requests in flight and resolves when they are over. */
  stop(): Promise<void>;
  health(): PollerHealth;
}

const IN_FLIGHT_MAX = 2;
const LONG_TIMEOUT_MS = 150_000;
/** Without a good answer for so long the service may have been disabled, and enabling it takes long again. */
const QUIET_MS = 30_000;

interface Request {
  readonly sequence: number;
  readonly long: boolean;
  readonly controller: AbortController;
}

interface PollerState {
  readonly options: Required<PollerOptions>;
  readonly dependencies: PollerDependencies;
  readonly startedAt: MonotonicMs;
  readonly requests: Map<Request, Promise<void>>;
  timer: Disposable | undefined;
  stopped: boolean;
  owed: boolean;
  sequence: number;
  deliveredSequence: number;
  lastSentAt: MonotonicMs | undefined;
  lastGoodAt: MonotonicMs | undefined;
  consecutiveFailures: number;
}

/** Polls on a fixed schedule until stopped; the first request goes out at once. */
export function startPoller(options: PollerOptions, dependencies: PollerDependencies): Poller {
  const state: PollerState = {
    options: { longTimeoutMs: LONG_TIMEOUT_MS, ...options },
    dependencies,
    startedAt: dependencies.clock.monotonicMs(),
    requests: new Map(),
    timer: undefined,
    stopped: false,
    owed: false,
    sequence: 0,
    deliveredSequence: 0,
    lastSentAt: undefined,
    lastGoodAt: undefined,
    consecutiveFailures: 0,
  };
  tick(state);
  return {
    async stop() {
      state.stopped = true;
      state.timer?.[Symbol.dispose]();
      for (const request of state.requests.keys()) request.controller.abort();
      await Promise.all(state.requests.values());
    },
    health: () => ({
      lastSentAt: state.lastSentAt,
      lastGoodAt: state.lastGoodAt,
      consecutiveFailures: state.consecutiveFailures,
      inFlight: state.requests.size,
    }),
  };
}

function tick(state: PollerState): void {
  const { clock } = state.dependencies;
  const { intervalMs } = state.options;
  const elapsedMs = clock.monotonicMs() - state.startedAt;
  // A timer can fire a little early; half an interval keeps that from doubling a tick.
  const nextMs = (Math.floor(elapsedMs / intervalMs + 0.5) + 1) * intervalMs;
  state.timer = clock.timer(nextMs - elapsedMs, () => tick(state));
  if (state.requests.size < IN_FLIGHT_MAX) send(state);
  else state.owed = true;
}

function send(state: PollerState): void {
  const { clock, client } = state.dependencies;
  const now = clock.monotonicMs();
  const quiet = state.lastGoodAt === undefined || now - state.lastGoodAt > QUIET_MS;
  const long = quiet && ![...state.requests.keys()].some((request) => request.long);
  state.sequence += 1;
  const request: Request = { sequence: state.sequence, long, controller: new AbortController() };
  state.owed = false;
  state.lastSentAt = now;
  const timeoutMs = long ? state.options.longTimeoutMs : state.options.requestTimeoutMs;
  const ended = client.get(timeoutMs, request.controller.signal).then(
    (poll) => settle(state, request, () => succeeded(state, request, poll)),
    (error: unknown) => settle(state, request, () => failed(state, request, error)),
  );
  state.requests.set(request, ended);
  state.dependencies.onSent?.();
}

function settle(state: PollerState, request: Request, report: () => void): void {
  state.requests.delete(request);
  if (request.controller.signal.aborted) return;
  report();
  if (state.owed && !state.stopped && state.requests.size < IN_FLIGHT_MAX) send(state);
}

function succeeded(state: PollerState, request: Request, poll: Poll): void {
  if (request.sequence < state.deliveredSequence) return;
  const now = state.dependencies.clock.monotonicMs();
  state.deliveredSequence = request.sequence;
  state.lastGoodAt = now;
  state.consecutiveFailures = 0;
  for (const other of state.requests.keys()) {
    if (!other.long) continue;
    // It has nothing to wait for any more, and its place is needed.
    other.controller.abort();
    state.requests.delete(other);
  }
  state.dependencies.onPoll(poll, now);
}

function failed(state: PollerState, request: Request, error: unknown): void {
  // Anything else is a defect of the client: it surfaces as an unhandled rejection and ends the process.
  if (!(error instanceof EvictdError)) throw error;
  if (request.sequence > state.deliveredSequence) state.consecutiveFailures += 1;
  state.dependencies.onFailure(error);
}
