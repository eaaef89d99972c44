/**
 * The entry of a sending thread: encrypts and sends what other threads have read, so that the main thread goes on
 * polling however much there is to send. It ends when it is terminated. Built into a text of its own.
 */
import { parentPort, workerData } from 'node:worker_threads';

import { systemClock } from '../base/clock.ts';
import type { MonotonicMs } from '../base/clock.ts';
import { createConnector } from '../base/http-connection.ts';
import type { Connection } from '../base/http-connection.ts';
import { isSuccess } from '../base/http-order.ts';
import type {
  HttpOrder,
  HttpOrders,
  HttpOrigin,
  HttpOutcome,
  HttpOutcomes,
  HttpRequest,
} from '../base/http-order.ts';
import { createRequestRoom, isRefused, STALLED_MS } from './request-room.ts';

/** Given by startThread in http-sender.ts. */
export interface HttpThreadData {
  /** Of the answer to a request that succeeds, all that anybody reads. */
  readonly headersRead: readonly string[];
  readonly origin: HttpOrigin;
  readonly connectionsMax: number;
}

// Nobody else starts this.
const { origin, connectionsMax, headersRead } = workerData as HttpThreadData;
const CONNECTED_AHEAD = 4;
/** For how long it is looked at how busy the thread is. */
const MEASURED_MS = 10;
/** The share of that in which it has something to do. */
const BUSY = 0.5;

const connect = createConnector(origin);
const room = createRequestRoom({ roomMax: connectionsMax }, { clock: systemClock });
/** In the order in which they came. They wait here so that there is a next one as soon as an answer comes. */
const waiting = new Map<number, HttpOrder>();
/** In the order in which they went out. */
const underWay = new Map<number, UnderWay>();
/** How many of them take up room. */
let inside = 0;
let watch: Disposable | undefined;
/** The one that was used last is used next, so that those which aren't needed any more end. */
const free: Connection[] = [];
let outcomes: HttpOutcomes[number][] = [];

interface UnderWay {
  readonly connection: Connection;
  readonly startedAt: MonotonicMs;
  isInside: boolean;
}

const listener = {
  onFree(connection: Connection) {
    free.push(connection);
    admit();
  },
  onEnd(connection: Connection) {
    const place = free.indexOf(connection);
    if (place !== -1) free.splice(place, 1);
    admit();
  },
};

// There is much to send: while that is being read, these connect, and find the TLS session that all others go on with.
for (let count = 0; count < Math.min(CONNECTED_AHEAD, connectionsMax); count++) free.push(connect(listener));

parentPort?.on('message', (orders: HttpOrders) => {
  for (const [number, order] of orders) {
    if (order !== undefined) waiting.set(number, order);
    else if (waiting.delete(number)) report(number, ABORTED);
    else underWay.get(number)?.connection.end();
  }
  admit();
});

const ABORTED: HttpOutcome = { kind: 'failed', errno: 'ECONNABORTED', message: 'it was not wanted any more' };

function admit(): void {
  for (const [number, order] of waiting) {
    if (inside >= room.size) return;
    waiting.delete(number);
    begin(number, order);
  }
}

function begin(number: number, { next, ...request }: HttpOrder): void {
  const connection = free.pop() ?? connect(listener);
  const one: UnderWay = { connection, startedAt: systemClock.monotonicMs(), isInside: true };
  underWay.set(number, one);
  inside++;
  watch ??= systemClock.timer(STALLED_MS, letStalledLeave);
  const end = (outcome: HttpOutcome, after?: HttpOutcome) => {
    leave(one);
    underWay.delete(number);
    report(number, brief(outcome), after && brief(after));
  };
  exchange(connection, request, (outcome) => {
    const etag = next === undefined ? undefined : etagOf(outcome);
    if (next === undefined || etag === undefined) return end(outcome);
    const head = `${next.slice(0, -END_OF_LINE.length)}if-match: ${etag}${END_OF_LINE}${END_OF_LINE}`;
    return exchange(connection, { head, body: undefined }, (after) => end(outcome, after));
  });
}

function leave(one: UnderWay): void {
  if (one.isInside) inside--;
  one.isInside = false;
}

/** One timer for all: nearly all have their answer long before. */
function letStalledLeave(): void {
  const now = systemClock.monotonicMs();
  for (const one of underWay.values()) if (one.startedAt + STALLED_MS <= now) leave(one);
  const next = [...underWay.values()].find(({ isInside }) => isInside);
  watch = next && systemClock.timer(next.startedAt + STALLED_MS - now, letStalledLeave);
  admit();
}

const END_OF_LINE = '\r\n';

function exchange(
  connection: Connection,
  request: HttpRequest,
  onOutcome: (outcome: HttpOutcome) => void,
): void {
  const startedAt = systemClock.monotonicMs();
  connection.exchange(request, (outcome) => {
    if (outcome.kind === 'answer' && isRefused(outcome)) room.shrink(startedAt);
    else if (outcome.kind === 'answer')
      room.noteAnswer(systemClock.monotonicMs() - startedAt, waiting.size > 0 && isMostlyWaiting());
    onOutcome(outcome);
  });
}

let measured = performance.eventLoopUtilization();
let isWaiting = false;

/** More connections help only where this thread waits for answers: to open them takes its own time. */
function isMostlyWaiting(): boolean {
  const { idle, active, utilization } = performance.eventLoopUtilization(measured);
  if (idle + active < MEASURED_MS) return isWaiting;
  isWaiting = utilization < BUSY;
  measured = performance.eventLoopUtilization();
  return isWaiting;
}

/** Each header of thousands of answers would be copied from thread to thread. */
function brief(outcome: HttpOutcome): HttpOutcome {
  if (!isAnsweredWell(outcome)) return outcome;
  const headers = new Map<string, string>();
  for (const name of headersRead) {
    const value = outcome.headers.get(name);
    if (value !== undefined) headers.set(name, value);
  }
  return { kind: 'answer', status: outcome.status, headers };
}

function isAnsweredWell(outcome: HttpOutcome): outcome is HttpOutcome & { kind: 'answer' } {
  return outcome.kind === 'answer' && isSuccess(outcome);
}

function etagOf(outcome: HttpOutcome): string | undefined {
  return isAnsweredWell(outcome) ? outcome.headers.get('etag') : undefined;
}

function report(...outcome: HttpOutcomes[number]): void {
  // Those of one round of the event loop go together.
  if (outcomes.push(outcome) > 1) return;
  setImmediate(() => {
    parentPort?.postMessage(outcomes, []);
    outcomes = [];
  });
}
