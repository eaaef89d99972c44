import { Worker } from 'node:worker_threads';

import { EvictdError, messageOf } from '../base/errors.ts';
import type { ReadAnswers, ReadJob, ReadResult } from './read-job.ts';

// The build puts the thread's whole program here; run from source it is a file.
declare const EVICTD_READ_THREAD: string | undefined;

export interface ReadOrder {
  readonly job: ReadJob;
  resolve: (result: ReadResult) => void;
  reject: (error: Error) => void;
}

/** One reading thread. It keeps the process alive only while it has orders. */
export interface ReadWorker {
  /** Orders without an answer. */
  readonly busy: number;
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

export function startReadWorker(listener: ReadWorkerListener): ReadWorker {
  const worker = startThread();
  const orders = new Map<number, ReadOrder>();
  let serial = 0;
  worker.unref();
  worker.on('message', (answers: ReadAnswers) => {
    for (const [number, result] of answers) {
      orders.get(number)?.resolve(result);
      orders.delete(number);
    }
    if (orders.size > 0) return;
    worker.unref();
    listener.onIdle();
  });
  const end = (reason: string) => {
    listener.onEnd();
    for (const order of orders.values()) {
      order.reject(new EvictdError('reader-failed', `the thread that reads files ${reason}`));
    }
    orders.clear();
    void worker.terminate();
  };
  worker.on('error', (error) => end(`failed: ${messageOf(error)}`));
  worker.on('exit', (code) => end(`ended with ${code}`));
  return {
    get busy() {
      return orders.size;
    },
    give(more) {
      worker.ref();
      const numbered = more.map((order) => {
        orders.set(++serial, order);
        return [serial, order.job] as const;
      });
      const moved = more.flatMap(({ job }) => memoryOf(job));
      worker.postMessage(numbered, moved);
    },
    end: () => end('was ended'),
  };
}

function memoryOf(job: ReadJob): ArrayBuffer[] {
  if (job.kind === 'block') return job.memory instanceof ArrayBuffer ? [job.memory] : [];
  return job.kind === 'place' ? [job.content.buffer] : [];
}

function startThread(): Worker {
  // The environment can hold secrets, and a thread needs none of it.
  const options = { env: {}, name: 'evictd-read' };
  return typeof EVICTD_READ_THREAD === 'undefined'
    ? new Worker(new URL('read-thread.ts', import.meta.url), options)
    : new Worker(EVICTD_READ_THREAD, { ...options, eval: true });
}
