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

/** Sends requests by a thread of its own, which encrypts them. */
export interface HttpSender {
  /** A thread is there: starting one costs some 30 ms. */
  readonly isStarted: boolean;
  /**
   * The memory of `body` must stay as it is until then. Rejects with a system error, with `bad-answer`, or with the
   * signal's reason, as soon as the thread has let go of the memory.
   */
  send(request: HttpRequest, signal: AbortSignal): Promise<HttpAnswer>;
  /** Ends the thread; requests under way fail. The next one would start it anew. */
  close(): void;
}

/** A thread with nothing to do holds on to some MiB. */
const IDLE_MS = 10_000;
/** Its heap holds little but names: what it sends is outside, and garbage is to be found before it takes room. */
const RESOURCES = { maxYoungGenerationSizeMb: 4 };

interface Order {
  settle(outcome: HttpOutcome): void;
}

interface Thread {
  give(number: number, request: HttpRequest | undefined): void;
  end(): void;
}

/*
 * INVARIANTS
 * - The thread is started by the first request, keeps the process alive only while there is one, and ends when there was
 *   none for IDLE_MS.
 * - Each request is settled exactly once: by its outcome, which an abort brings about, or by the end of the thread.
 * - Requests of one turn of the event loop are handed over together at its end.
 */
export function createHttpSender(origin: HttpOrigin, { clock }: { readonly clock: Clock }): HttpSender {
  const orders = new Map<number, Order>();
  let serial = 0;
  let thread: Thread | undefined;
  let idle: Disposable | undefined;

  const onEnd = (reason: string) => {
    thread = undefined;
    for (const order of orders.values()) order.settle(failedOutcome(reason));
  };
  const close = () => {
    idle?.[Symbol.dispose]();
    idle = undefined;
    thread?.end();
  };
  const add = (number: number, request: HttpRequest, settle: Order['settle']) => {
    idle?.[Symbol.dispose]();
    idle = undefined;
    orders.set(number, { settle });
    thread ??= startThread(origin, (number, outcome) => orders.get(number)?.settle(outcome), onEnd);
    thread.give(number, request);
  };
  const remove = (number: number) => {
    orders.delete(number);
    if (orders.size === 0 && thread !== undefined) idle = clock.timer(IDLE_MS, close);
  };

  return {
    get isStarted() {
      return thread !== undefined;
    },
    send: (request, signal) =>
      new Promise((resolve, reject) => {
        if (signal.aborted) return reject(reasonOf(signal));
        const number = ++serial;
        const onAbort = () => thread?.give(number, undefined);
        signal.addEventListener('abort', onAbort, { once: true });
        return add(number, request, (outcome) => {
          signal.removeEventListener('abort', onAbort);
          remove(number);
          if (signal.aborted) reject(reasonOf(signal));
          else if (outcome.kind === 'answer') resolve(outcome);
          else reject(outcomeError(outcome));
        });
      }),
    close,
  };
}

function startThread(
  origin: HttpOrigin,
  onOutcome: (number: number, outcome: HttpOutcome) => void,
  onEnd: (reason: string) => void,
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
    onEnd(reason);
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
  return {
    give(number, request) {
      if (request !== undefined && underWay++ === 0) worker.ref();
      if (waiting.push([number, request]) === 1) queueMicrotask(giveAway);
    },
    end: () => end('was ended'),
  };
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
