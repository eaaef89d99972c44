import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';

import { reasonOf } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { outcomeError } from '../base/http-order.ts';
import type { HttpAnswer, HttpOrder, HttpOrders, HttpOutcome, HttpOutcomes } from '../base/http-order.ts';
import type { HttpThreadData } from './http-thread.ts';

// The build puts the thread's whole program here; run from source it is a file.
declare const EVICTD_HTTP_THREAD: string | undefined;

export interface SentAnswer extends HttpAnswer {
  /** That of the request which was to follow, if it got one. */
  readonly next: HttpAnswer | undefined;
}

/** Sends requests by threads of its own, which encrypt them. How many go out at once the threads find out. */
export interface HttpSender {
  /** A thread is there and runs: starting one takes some 30 ms. */
  readonly isReady: boolean;
  /** Much is to be sent soon: starts a thread, and its first connections. If that can't be, it is tried when it has to. */
  start(): void;
  /**
   * The memory of `body` must stay as it is until then. Rejects with a system error, with `bad-answer`, or with the
   * signal's reason, as soon as the thread has let go of the memory.
   */
  send(order: HttpOrder, signal: AbortSignal): Promise<SentAnswer>;
  /**
   * Gives several to the same thread. `onEnd` hears of each once, by its place among them, when the thread has let go of
   * its memory. The answer withdraws one of them, which then ends soon.
   */
  give(
    orders: readonly HttpOrder[],
    onEnd: (index: number, end: SentAnswer | Error) => void,
  ): (index: number) => void;
  /** Ends the threads; requests under way fail. The next one would start them anew. */
  close(): void;
}

/** A thread with nothing to do holds on to some MiB. */
const IDLE_MS = 10_000;
/** Its heap holds little but names: what it sends is outside. Looking for garbage at each MiB held up small files. */
const RESOURCES = { maxYoungGenerationSizeMb: 12 };

/** Encrypting is what takes the time: two of them keep up with any VM's network. */
const THREADS_MAX = 2;
/** Starting a second one, and its connections, is worth it for more than this at once. */
const SENT_BY_ONE_BYTES = 8 * 1024 ** 2;

interface GivenOrder {
  readonly thread: Thread;
  /** Of its content. */
  readonly bytes: number;
  settle(outcome: HttpOutcome, next?: HttpOutcome): void;
}

interface Thread {
  /** Of all that it was given and hasn't answered. */
  bytes: number;
  readonly isReady: boolean;
  give(number: number, order: HttpOrder | undefined): void;
  end(): void;
}

/*
 * INVARIANTS
 * - A thread is started by a request that the others have no room for, keeps the process alive only while it has one, and
 *   all end when there was none for IDLE_MS. They never read files: what hangs there must not keep anything from going out.
 * - Each request is settled exactly once: by its outcome, which an abort brings about, or by the end of its thread.
 * - Requests of one turn of the event loop are handed over together at its end.
 */
export function createHttpSender(data: HttpThreadData, { clock }: { readonly clock: Clock }): HttpSender {
  const orders = new Map<number, GivenOrder>();
  const threads = new Set<Thread>();
  let serial = 0;
  let idle: Disposable | undefined;

  const onEnd = (thread: Thread, reason: string) => {
    threads.delete(thread);
    for (const order of orders.values()) if (order.thread === thread) order.settle(failedOutcome(reason));
  };
  const close = () => {
    for (const thread of threads) thread.end();
    idle?.[Symbol.dispose]();
    idle = undefined;
  };
  const onOutcome = (number: number, outcome: HttpOutcome, next?: HttpOutcome) =>
    orders.get(number)?.settle(outcome, next);
  const start = (): Thread => {
    const thread = startThread(data, onOutcome, onEnd);
    threads.add(thread);
    return thread;
  };
  const give: HttpSender['give'] = (given, onEnd) => {
    idle?.[Symbol.dispose]();
    idle = undefined;
    const thread = withRoom(threads, start);
    const first = serial;
    serial += given.length;
    for (const [index, order] of given.entries()) {
      const number = first + index;
      const bytes = order.body?.byteLength ?? 0;
      const settle = (outcome: HttpOutcome, next?: HttpOutcome) => {
        remove(number);
        onEnd(
          index,
          outcome.kind === 'answer' ? { ...outcome, next: answerOf(next) } : outcomeError(outcome),
        );
      };
      orders.set(number, { thread, bytes, settle });
      thread.bytes += bytes;
      thread.give(number, order);
    }
    return (index) => thread.give(first + index, undefined);
  };
  const remove = (number: number) => {
    const order = orders.get(number);
    if (order === undefined) return;
    order.thread.bytes -= order.bytes;
    orders.delete(number);
    if (orders.size === 0 && threads.size > 0) idle = clock.timer(IDLE_MS, close);
  };

  return {
    get isReady() {
      return [...threads].some((thread) => thread.isReady);
    },
    start() {
      if (threads.size > 0) return;
      try {
        start();
      } catch {
        return;
      }
      idle = clock.timer(IDLE_MS, close);
    },
    send: (order, signal) => sendOne(give, order, signal),
    give,
    close,
  };
}

function sendOne(give: HttpSender['give'], order: HttpOrder, signal: AbortSignal): Promise<SentAnswer> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(reasonOf(signal));
    const withdraw = give([order], (_index, end) => {
      signal.removeEventListener('abort', onAbort);
      if (signal.aborted) reject(reasonOf(signal));
      else if (end instanceof Error) reject(end);
      else resolve(end);
    });
    const onAbort = () => withdraw(0);
    return signal.addEventListener('abort', onAbort, { once: true });
  });
}

/** One that takes another request, started where the others have enough. */
function withRoom(threads: ReadonlySet<Thread>, start: () => Thread): Thread {
  const [first, second] = threads;
  if (first === undefined) return start();
  if (first.bytes < SENT_BY_ONE_BYTES) return first;
  const threadsMax = Math.min(THREADS_MAX, availableParallelism());
  if (second === undefined) return threadsMax > 1 ? startedOr(start, first) : first;
  return second.bytes < first.bytes ? second : first;
}

function answerOf(outcome: HttpOutcome | undefined): HttpAnswer | undefined {
  return outcome?.kind === 'answer' ? outcome : undefined;
}

/** The system may have no more threads for us; one can do it as well. */
function startedOr(start: () => Thread, other: Thread): Thread {
  try {
    return start();
  } catch {
    return other;
  }
}

function startThread(
  data: HttpThreadData,
  onOutcome: (...outcome: HttpOutcomes[number]) => void,
  onEnd: (thread: Thread, reason: string) => void,
): Thread {
  // The environment can hold secrets, and a thread needs none of it.
  const options = { env: {}, name: 'evictd-send', workerData: data, resourceLimits: RESOURCES };
  const worker =
    typeof EVICTD_HTTP_THREAD === 'undefined'
      ? new Worker(new URL('http-thread.ts', import.meta.url), options)
      : new Worker(EVICTD_HTTP_THREAD, { ...options, eval: true });
  let underWay = 0;
  let isEnded = false;
  let isReady = false;
  let waiting: HttpOrders[number][] = [];
  const end = (reason: string) => {
    if (isEnded) return;
    isEnded = true;
    onEnd(thread, reason);
    void worker.terminate();
  };
  const giveAway = () => {
    const orders: HttpOrders = waiting.map(([number, order]) => [number, order && movable(order)]);
    waiting = [];
    const moved = orders.flatMap(([, order]) => memoryOf(order));
    worker.postMessage(orders, moved);
  };
  worker.unref();
  worker.once('online', () => (isReady = true));
  worker.on('message', (outcomes: HttpOutcomes) => {
    underWay -= outcomes.length;
    if (underWay === 0) worker.unref();
    for (const outcome of outcomes) onOutcome(...outcome);
  });
  worker.on('error', (error) => end(`failed: ${String(error)}`));
  worker.on('exit', (code) => end(`ended with ${code}`));
  const thread: Thread = {
    bytes: 0,
    get isReady() {
      return isReady;
    },
    give(number, order) {
      if (order !== undefined && underWay++ === 0) worker.ref();
      if (waiting.push([number, order]) === 1) queueMicrotask(giveAway);
    },
    end: () => end('was ended'),
  };
  return thread;
}

/** Shared memory is sent from where it is. All else is copied, since it may have to be sent again. */
function movable({ body, ...order }: HttpOrder): HttpOrder {
  return { ...order, body: body === undefined || isShared(body) ? body : new Uint8Array(body) };
}

function memoryOf(order: HttpOrder | undefined): ArrayBuffer[] {
  const memory = order?.body?.buffer;
  return memory instanceof ArrayBuffer ? [memory] : [];
}

function isShared({ buffer }: Uint8Array): boolean {
  return buffer instanceof SharedArrayBuffer;
}

function failedOutcome(reason: string): HttpOutcome {
  return { kind: 'failed', errno: 'ECONNABORTED', message: `the thread that sends ${reason}` };
}
