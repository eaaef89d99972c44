import { setMaxListeners } from 'node:events';

/*
 * INVARIANTS
 * - Nothing started here outlives the promise that stands for it: `forEachLimit` and `TaskGroup.settled`
 *   settle only when every task has settled, also after an error or an abort.
 * - First cause wins: later errors of the same group are consequences of its abort and are dropped.
 * - A gate's place is given back exactly once, however often it is disposed.
 * - Places are given by rank, and within a rank in the order of asking, so that there a heavy request can't be starved
 *   by light ones.
 * - Don't ask for a second place of the same gate while holding one: two tasks that do so can wait for each other.
 */

/** Tasks that share a signal: the first failure aborts the others. */
export interface TaskGroup {
  /** Aborted by the parent, by the first failing task, or by `abort`. */
  readonly signal: AbortSignal;
  run(task: (signal: AbortSignal) => Promise<void>): void;
  abort(reason: unknown): void;
  /** Waits for all tasks, then throws the first error, or the parent's reason. Call it exactly once, at the end. */
  settled(): Promise<void>;
}

/**
 * Calls `task` for each item with at most `limit` calls under way.
 * The first error (or the abort of `signal`) stops the rest and is thrown after all calls have settled.
 */
export async function forEachLimit<T>(
  items: Iterable<T>,
  limit: number,
  signal: AbortSignal,
  task: (item: T, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const group = createGroup(signal);
  const iterator = items[Symbol.iterator]();
  const worker = async (inner: AbortSignal) => {
    while (!inner.aborted) {
      const next = iterator.next();
      if (next.done === true) return;
      await task(next.value, inner);
    }
  };
  for (let started = 0; started < limit; started++) group.run(worker);
  await group.settled();
}

/** How many tasks run at once is for the caller to bound (by a gate, or by how many it starts). */
export function createGroup(parent: AbortSignal): TaskGroup {
  const controller = new AbortController();
  // Dozens of requests listen on one signal; the default of 10 would only print a warning.
  setMaxListeners(0, controller.signal);
  let failure: { readonly error: unknown } | undefined;
  const fail = (error: unknown) => {
    failure ??= { error };
    controller.abort(error);
  };
  const onParent = () => fail(parent.reason);
  if (parent.aborted) onParent();
  else parent.addEventListener('abort', onParent, { once: true });
  const running = new Set<Promise<void>>();
  return {
    signal: controller.signal,
    run(task) {
      const promise = task(controller.signal)
        .catch(fail)
        .finally(() => running.delete(promise));
      running.add(promise);
    },
    abort: fail,
    async settled() {
      // A task may start further ones, so look again until none is left.
      while (running.size > 0) await Promise.all(running);
      parent.removeEventListener('abort', onParent);
      if (failure !== undefined) throw failure.error;
    },
  };
}

/** Bounds how many are inside at once, and how much they weigh together. */
export interface Gate {
  readonly isEmpty: boolean;
  /**
   * Waits for a place; dispose the answer to give it back. Of those who wait, the lowest rank (default 0) goes first.
   * Rejects with the signal's reason.
   */
  enter(weight: number, signal: AbortSignal, rank?: number): Promise<Disposable>;
}

interface Waiter {
  readonly weight: number;
  readonly rank: number;
  admit(): void;
}

/** Something heavier than `weightMax` counts as `weightMax`: it gets in when nothing else is inside. */
export function createGate(options: {
  readonly placesMax: number;
  readonly weightMax: number;
  /** Called when the last one inside has left and nobody waits. */
  readonly onEmpty?: () => void;
}): Gate {
  const waiting: Waiter[] = [];
  let places = 0;
  let weight = 0;

  const fits = (more: number) => places < options.placesMax && weight + more <= options.weightMax;
  const take = (more: number): Disposable => {
    places++;
    weight += more;
    let held = true;
    return {
      [Symbol.dispose]() {
        if (!held) return;
        held = false;
        places--;
        weight -= more;
        admitWaiting();
        if (places === 0) options.onEmpty?.();
      },
    };
  };
  const admitWaiting = () => {
    for (let first = waiting[0]; first !== undefined && fits(first.weight); first = waiting[0]) {
      waiting.shift();
      first.admit();
    }
  };

  return {
    get isEmpty() {
      return places === 0;
    },
    enter(asked, signal, rank = 0) {
      const more = Math.min(asked, options.weightMax);
      if (signal.aborted) return Promise.reject(toError(signal.reason));
      const [first] = waiting;
      if ((first === undefined || rank < first.rank) && fits(more)) return Promise.resolve(take(more));
      return new Promise((resolve, reject) => {
        const onAbort = () => {
          waiting.splice(waiting.indexOf(waiter), 1);
          // The one who leaves may have been the heavy one in front.
          admitWaiting();
          reject(toError(signal.reason));
        };
        const waiter: Waiter = {
          weight: more,
          rank,
          admit() {
            signal.removeEventListener('abort', onAbort);
            resolve(take(more));
          },
        };
        waiting.splice(waiting.findLastIndex((other) => other.rank <= rank) + 1, 0, waiter);
        signal.addEventListener('abort', onAbort, { once: true });
      });
    },
  };
}

function toError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error(String(reason));
}
