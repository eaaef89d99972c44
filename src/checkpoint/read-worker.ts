import { Worker } from 'node:worker_threads';

import type { Clock, MonotonicMs } from '../base/clock.ts';
import { EvictdError, messageOf } from '../base/errors.ts';
import type { ReadAnswers, ReadJob, ReadMessage, ReadResult } from './read-job.ts';

// The build puts the thread's whole program here; run from source it is a file.
declare const EVICTD_READ_THREAD: string | undefined;

export interface ReadOrder {
  readonly job: ReadJob;
  /** Breaks a fetch off; it is answered all the same. */
  readonly signal?: AbortSignal | undefined;
  resolve: (result: ReadResult) => void;
  reject: (error: Error) => void;
}

interface GivenOrder extends ReadOrder {
  readonly givenAt: MonotonicMs;
  cancel(this: void): void;
}

/** One reading thread. It keeps the process alive only while it has orders. */
export interface ReadWorker {
  /** It runs: until it does, what it is given waits for some 30 ms. */
  readonly isReady: boolean;
  /** Orders without an answer. */
  readonly busy: number;
  /** The first of those, and since when it could be done; undefined: the thread doesn't run yet. */
  readonly oldest: { readonly job: ReadJob; readonly since: MonotonicMs | undefined } | undefined;
  give(orders: readonly ReadOrder[]): void;
  /** Rejects what is under way. */
  end(): void;
}

export interface ReadWorkerListener {
  /** All orders are answered. */
  onIdle(): void;
  /** It is of no more use. */
  onEnd(): void;
}

export function startReadWorker(
  listener: ReadWorkerListener,
  { clock }: { readonly clock: Clock },
): ReadWorker {
  const worker = startThread();
  const orders = new Map<number, GivenOrder>();
  let serial = 0;
  let readyAt: MonotonicMs | undefined;
  const post = (message: ReadMessage, moved: ArrayBuffer[] = []) => worker.postMessage(message, moved);
  worker.unref();
  worker.once('online', () => (readyAt = clock.monotonicMs()));
  worker.on('message', (answers: ReadAnswers) => {
    for (const [number, result] of answers) {
      const order = orders.get(number);
      orders.delete(number);
      order?.signal?.removeEventListener('abort', order.cancel);
      order?.resolve(result);
    }
    if (orders.size > 0) return;
    worker.unref();
    listener.onIdle();
  });
  const end = (reason: string) => {
    listener.onEnd();
    for (const order of orders.values()) {
      order.signal?.removeEventListener('abort', order.cancel);
      order.reject(new EvictdError('reader-failed', `the thread that reads files ${reason}`));
    }
    orders.clear();
    void worker.terminate();
  };
  worker.on('error', (error) => end(`failed: ${messageOf(error)}`));
  worker.on('exit', (code) => end(`ended with ${code}`));
  return {
    get isReady() {
      return readyAt !== undefined;
    },
    get busy() {
      return orders.size;
    },
    get oldest() {
      const [first] = orders.values();
      return first && { job: first.job, since: readyAt && Math.max(first.givenAt, readyAt) };
    },
    give(more) {
      worker.ref();
      const givenAt = clock.monotonicMs();
      const numbered = more.map((order) => {
        const number = ++serial;
        const cancel = () => post({ kind: 'cancel', order: number });
        orders.set(number, { ...order, givenAt, cancel });
        order.signal?.addEventListener('abort', cancel, { once: true });
        return [number, order.job] as const;
      });
      const moved = more.flatMap(({ job }) => memoryOf(job));
      post({ kind: 'orders', orders: numbered }, moved);
      // What was aborted before has no event of that any more.
      for (const [number] of numbered) {
        const given = orders.get(number);
        if (given?.signal?.aborted === true) given.cancel();
      }
    },
    end: () => end('was ended'),
  };
}

function memoryOf(job: ReadJob): ArrayBuffer[] {
  return job.kind === 'block' && job.memory instanceof ArrayBuffer ? [job.memory] : [];
}

function startThread(): Worker {
  // The environment can hold secrets, and a thread needs none of it.
  const options = { env: {}, name: 'evictd-read' };
  return typeof EVICTD_READ_THREAD === 'undefined'
    ? new Worker(new URL('read-thread.ts', import.meta.url), options)
    : new Worker(EVICTD_READ_THREAD, { ...options, eval: true });
}
