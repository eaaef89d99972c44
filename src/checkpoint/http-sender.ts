import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';

import { reasonOf } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { outcomeError } from '../base/http-order.ts';
import type {
  HttpAnswer,
  HttpOrders,
  HttpOrigin,
  HttpOutcome,
  HttpOutcomes,
  HttpRequest,
} from '../base/http-order.ts';

// The build puts the thread's whole program here; run from source it is a file.
declare const EVICTD_HTTP_THREAD: string | undefined;

/** Sends requests by threads of its own, which encrypt them. */
export interface HttpSender {
  /** A thread is there: starting one costs some 30 ms. */
  readonly isStarted: boolean;
  /**
   * The memory of `body` must stay as it is until then. Rejects with a system error, with `bad-answer`, or with the
   * signal's reason, as soon as the thread has let go of the memory.
   */
  send(request: HttpRequest, signal: AbortSignal): Promise<HttpAnswer>;
  /** Ends the threads; requests under way fail. The next one would start them anew. */
  close(): void;
}

/** A thread with nothing to do holds on to some MiB. */
const IDLE_MS = 10_000;
/** Its heap holds little but names: what it sends is outside, and garbage is to be found before it takes room. */
const RESOURCES = { maxYoungGenerationSizeMb: 4 };

/** Encrypting is what takes the time: two of them keep up with any VM's network. */
const THREADS_MAX = 2;
/** Starting a second one, and its connections, is worth it for more than this at once. */
const SENT_BY_ONE_BYTES = 8 * 1024 ** 2;

interface Order {
  readonly thread: Thread;
  /** Of its content. */
  readonly bytes: number;
  settle(outcome: HttpOutcome): void;
}

interface Thread {
  /** Of all that it was given and hasn't answered. */
  bytes: number;
  give(number: number, request: HttpRequest | undefined): void;
  end(): void;
}

/*
 * INVARIANTS
 * - A thread is started by a request that the others have no room for, keeps the process alive only while it has one, and
 *   all end when there was none for IDLE_MS. They never read files: what hangs there must not keep anything from going out.
 * - Each request is settled exactly once: by its outcome, which an abort brings about, or by the end of its thread.
 * - Requests of one turn of the event loop are handed over together at its end.
 */
export function createHttpSender(origin: HttpOrigin, { clock }: { readonly clock: Clock }): HttpSender {
  const threadsMax = Math.min(THREADS_MAX, availableParallelism());
  const orders = new Map<number, Order>();
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
  const start = (): Thread => {
    const thread = startThread(origin, (number, outcome) => orders.get(number)?.settle(outcome), onEnd);
    threads.add(thread);
    return thread;
  };
  const withRoom = (): Thread => {
    const [first, second] = threads;
    if (first === undefined) return start();
    if (first.bytes < SENT_BY_ONE_BYTES) return first;
    if (second === undefined) return threadsMax > 1 ? startedOr(start, first) : first;
    return second.bytes < first.bytes ? second : first;
  };
  const add = (number: number, request: HttpRequest, settle: Order['settle']): Thread => {
    idle?.[Symbol.dispose]();
    idle = undefined;
    const thread = withRoom();
    const bytes = request.body?.byteLength ?? 0;
    orders.set(number, { thread, bytes, settle });
    thread.bytes += bytes;
    thread.give(number, request);
    return thread;
  };
  const remove = (number: number) => {
    const order = orders.get(number);
    if (order === undefined) return;
    order.thread.bytes -= order.bytes;
    orders.delete(number);
    if (orders.size === 0 && threads.size > 0) idle = clock.timer(IDLE_MS, close);
  };

  return {
    get isStarted() {
      return threads.size > 0;
    },
    send: (request, signal) =>
      new Promise((resolve, reject) => {
        if (signal.aborted) return reject(reasonOf(signal));
        const number = ++serial;
        const thread = add(number, request, (outcome) => {
          signal.removeEventListener('abort', onAbort);
          remove(number);
          if (signal.aborted) reject(reasonOf(signal));
          else if (outcome.kind === 'answer') resolve(outcome);
          else reject(outcomeError(outcome));
        });
        const onAbort = () => thread.give(number, undefined);
        return signal.addEventListener('abort', onAbort, { once: true });
      }),
    close,
  };
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
  origin: HttpOrigin,
  onOutcome: (number: number, outcome: HttpOutcome) => void,
  onEnd: (thread: Thread, reason: string) => void,
): Thread {
  // The environment can hold secrets, and a thread needs none of it.
  const options = { env: {}, name: 'evictd-send', workerData: origin, resourceLimits: RESOURCES };
  const worker =
    typeof EVICTD_HTTP_THREAD === 'undefined'
      ? new Worker(new URL('http-thread.ts', import.meta.url), options)
      : new Worker(EVICTD_HTTP_THREAD, { ...options, eval: true });
  let underWay = 0;
  let isEnded = false;
  let waiting: [number: number, request: HttpRequest | undefined][] = [];
  const end = (reason: string) => {
    if (isEnded) return;
    isEnded = true;
    onEnd(thread, reason);
    void worker.terminate();
  };
  const giveAway = () => {
    const orders: HttpOrders = waiting.map(([number, request]) => [number, request && movable(request)]);
    waiting = [];
    const moved = orders.flatMap(([, request]) => memoryOf(request));
    worker.postMessage(orders, moved);
  };
  worker.unref();
  worker.on('message', (outcomes: HttpOutcomes) => {
    underWay -= outcomes.length;
    if (underWay === 0) worker.unref();
    for (const [number, outcome] of outcomes) onOutcome(number, outcome);
  });
  worker.on('error', (error) => end(`failed: ${String(error)}`));
  worker.on('exit', (code) => end(`ended with ${code}`));
  const thread: Thread = {
    bytes: 0,
    give(number, request) {
      if (request !== undefined && underWay++ === 0) worker.ref();
      if (waiting.push([number, request]) === 1) queueMicrotask(giveAway);
    },
    end: () => end('was ended'),
  };
  return thread;
}

/** Shared memory is sent from where it is. All else is copied, since it may have to be sent again. */
function movable({ head, body }: HttpRequest): HttpRequest {
  return { head, body: body === undefined || isShared(body) ? body : new Uint8Array(body) };
}

function memoryOf(request: HttpRequest | undefined): ArrayBuffer[] {
  const memory = request?.body?.buffer;
  return memory instanceof ArrayBuffer ? [memory] : [];
}

function isShared({ buffer }: Uint8Array): boolean {
  return buffer instanceof SharedArrayBuffer;
}

function failedOutcome(reason: string): HttpOutcome {
  return { kind: 'failed', errno: 'ECONNABORTED', message: `the thread that sends ${reason}` };
}
