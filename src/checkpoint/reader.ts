import { availableParallelism } from 'node:os';

import type { Clock } from '../base/clock.ts';
import type { ReadJob, ReadResult } from './read-job.ts';
import { startReadWorker } from './read-worker.ts';
import type { ReadOrder, ReadWorker } from './read-worker.ts';
import { isSmall, scanSmall } from './scan-small.ts';

/**
 * Reads and hashes in threads of its own, so that the main thread goes on polling however much there is to read. Looks at
 * a few files without one.
 */
export interface Reader {
  /**
   * Rejects `reader-failed` when its thread died. An open file must stay open until the answer is there.
   * The memory of a `block` moves to the thread and comes back with its answer. The signal breaks a `fetch` off,
   * which is answered all the same.
   */
  run(job: ReadJob, signal?: AbortSignal): Promise<ReadResult>;
  /** Nothing more is to be expected soon: ends the threads, unless something is under way. */
  rest(): void;
  /** Ends the threads; what is under way is rejected. The next job would start them anew. */
  close(): void;
}

/** One core is left to sending; more than two threads are faster than any VM's network. */
const THREADS_MAX = 2;
/** Small files that are handed over together: more make it cheaper, and the threads share the work less evenly. */
const FILES_TOGETHER = 8;
/** A thread with nothing to do holds on to some MiB. */
const IDLE_MS = 10_000;

/*
 * INVARIANTS
 * - A thread is started when there is work for one and none is free to take it, at most THREADS_MAX of them.
 * - Each job is settled exactly once: by its thread's answer, or by the end of its thread.
 * - Jobs of one turn of the event loop are given away at its end.
 */
export function createReader(dependencies: { readonly clock: Clock }): Reader {
  const workersMax = Math.min(THREADS_MAX, availableParallelism());
  const workers = new Set<ReadWorker>();
  let waiting: ReadOrder[] = [];
  let idle: Disposable | undefined;

  const close = () => {
    idle?.[Symbol.dispose]();
    idle = undefined;
    for (const worker of workers) worker.end();
  };
  const start = (): ReadWorker => {
    const worker = startReadWorker({
      onIdle() {
        idle?.[Symbol.dispose]();
        const isIdle = [...workers].every(({ busy }) => busy === 0);
        idle = isIdle ? dependencies.clock.timer(IDLE_MS, close) : undefined;
      },
      onEnd: () => workers.delete(worker),
    });
    workers.add(worker);
    return worker;
  };
  const leastBusy = (): ReadWorker => {
    const [first] = [...workers].sort((one, other) => one.busy - other.busy);
    return first !== undefined && (first.busy === 0 || workers.size >= workersMax) ? first : start();
  };
  const giveAway = () => {
    const orders = waiting;
    waiting = [];
    idle?.[Symbol.dispose]();
    idle = undefined;
    for (const batch of batches(orders)) leastBusy().give(batch);
  };

  const hand = (job: ReadJob, signal?: AbortSignal) =>
    new Promise<ReadResult>((resolve, reject) => {
      if (waiting.push({ job, signal, resolve, reject }) === 1) queueMicrotask(giveAway);
    });

  return {
    async run(job, signal) {
      const isAlone = workers.size === 0 && waiting.length === 0;
      const found = isAlone && isSmall(job) ? await scanSmall(job) : undefined;
      return found ?? hand(job, signal);
    },
    rest: () => void (idle !== undefined && close()),
    close,
  };
}

/** Small files some at a time, all else one by one. */
function* batches(orders: readonly ReadOrder[]): Iterable<readonly ReadOrder[]> {
  for (let at = 0; at < orders.length;) {
    let end = at + 1;
    while (end < orders.length && end - at < FILES_TOGETHER && isFile(orders[at]) && isFile(orders[end]))
      end++;
    yield orders.slice(at, end);
    at = end;
  }
}

function isFile(order: ReadOrder | undefined): boolean {
  return order?.job.kind === 'file';
}
