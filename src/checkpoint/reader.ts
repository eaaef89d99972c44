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
  /**
   * Much is to be read soon: starts a thread. If that can't be, it is tried when it has to. What is to be done meanwhile
   * and is small is done without.
   */
  start(): void;
  /** Nothing more is to be expected soon: ends the threads, unless something is under way. */
  rest(): void;
  /** Ends the threads; what is under way is rejected. The next job would start them anew. */
  close(): void;
}

/** One core is left to sending; more than two threads are faster than any VM's network. */
const THREADS_MAX = 2;
/** Small files that are handed over together: more make it cheaper, and the threads share the work less evenly. */
const FILES_TOGETHER = 8;
/** Where looking at files and reading small ones takes longer, it isn't for lack of processor time. */
const SLOW_MS = 50;
/** A thread with nothing to do holds on to some MiB. */
const IDLE_MS = 10_000;

/*
 * INVARIANTS
 * - A thread is started when there is work for one and none is free to take it, at most THREADS_MAX of them. What a
 *   thread does in less time than it takes to start another waits for it, but never for another set: that may be where
 *   nothing answers any more.
 * - Each job is settled exactly once: by its thread's answer, or by the end of its thread.
 * - Jobs of one turn of the event loop are given away at its end.
 */
export function createReader(dependencies: { readonly clock: Clock }): Reader {
  const { clock } = dependencies;
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
    const listener = {
      onIdle() {
        idle?.[Symbol.dispose]();
        const isIdle = [...workers].every(({ busy }) => busy === 0);
        idle = isIdle ? clock.timer(IDLE_MS, close) : undefined;
      },
      onEnd: () => void workers.delete(worker),
    };
    const worker: ReadWorker = startReadWorker(listener, dependencies);
    workers.add(worker);
    return worker;
  };
  const workerFor = (batch: readonly ReadOrder[]): ReadWorker => {
    const [first] = [...workers].sort((one, other) => one.busy - other.busy);
    if (first === undefined) return start();
    const { oldest } = first;
    if (oldest === undefined || workers.size >= workersMax) return first;
    const isSlow = clock.monotonicMs() - (oldest.since ?? Infinity) >= SLOW_MS;
    const root = lightRoot(oldest.job);
    const isSoonDone = !isSlow && root !== undefined && batch.every(({ job }) => lightRoot(job) === root);
    return isSoonDone ? first : start();
  };
  const giveAway = () => {
    const orders = waiting;
    waiting = [];
    idle?.[Symbol.dispose]();
    idle = undefined;
    for (const batch of batches(orders)) workerFor(batch).give(batch);
  };

  const hand = (job: ReadJob, signal?: AbortSignal) =>
    new Promise<ReadResult>((resolve, reject) => {
      if (waiting.push({ job, signal, resolve, reject }) === 1) queueMicrotask(giveAway);
    });

  return {
    async run(job, signal) {
      const isAlone = ![...workers].some(({ isReady }) => isReady) && waiting.length === 0;
      const found = isAlone && isSmall(job) ? await scanSmall(job) : undefined;
      return found ?? hand(job, signal);
    },
    start() {
      if (workers.size > 0) return;
      try {
        start();
      } catch {
        return;
      }
      idle = clock.timer(IDLE_MS, close);
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

/** Of a job that takes next to no time, where its set is. */
function lightRoot(job: ReadJob): string | undefined {
  return job.kind === 'file' || job.kind === 'files' || job.kind === 'look' || job.kind === 'list'
    ? job.root
    : undefined;
}

function isFile(order: ReadOrder | undefined): boolean {
  return order?.job.kind === 'file';
}
