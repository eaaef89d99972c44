import { boundedSignal } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { EvictdError, messageOf } from '../base/errors.ts';

/** Finds out early when the store can't be used: at the start by a real write, later by a cheap request. */
export interface StoreWatch extends Disposable {
  /** Why it can't be used at the moment. */
  problem(): EvictdError | undefined;
}

export interface StoreWatchDependencies {
  /** Writes, reads and removes; once. */
  readonly probe: (signal: AbortSignal) => Promise<void>;
  readonly reach: (signal: AbortSignal) => Promise<void>;
  readonly tokenError: (this: void) => EvictdError | undefined;
  readonly clock: Clock;
  /** Hears each new reason once. */
  readonly onProblem: (error: EvictdError) => void;
  readonly onWorks: () => void;
}

/** A request needs a thread with the SDK, which takes as much as two minutes of polling. */
const EVERY_MS = 15 * 60_000;
const AGAIN_MS = 60_000;
const TRY_MS = 20_000;

/**
 * A role that is missing, or was taken away weeks after the start, a container that keeps everything, a wrong key: none
 * of them may wait for the first notice to be noticed.
 */
export function startStoreWatch(dependencies: StoreWatchDependencies): StoreWatch {
  const { probe, reach, tokenError, clock, onProblem, onWorks } = dependencies;
  let problem: EvictdError | undefined;
  let isProbed = false;
  let isOver = false;
  const note = (found: EvictdError | undefined) => {
    // At the end the store is closed, and that is no problem of its.
    if (isOver) return;
    const earlier = problem;
    problem = found;
    if (found !== undefined && found.message !== earlier?.message) onProblem(found);
    if (found === undefined && earlier !== undefined) onWorks();
  };
  const look = async () => {
    using bound = boundedSignal(clock, TRY_MS);
    try {
      await (isProbed ? reach(bound.signal) : probe(bound.signal));
      isProbed = true;
      note(tokenError());
    } catch (error) {
      note(
        error instanceof EvictdError
          ? error
          : new EvictdError('store-unusable', messageOf(error), { cause: error }),
      );
    }
  };
  let timer: Disposable | undefined;
  const again = async () => {
    await look();
    if (!isOver) timer = clock.timer(problem === undefined ? EVERY_MS : AGAIN_MS, () => void again());
  };
  void again();
  return {
    problem: () => problem,
    [Symbol.dispose]() {
      isOver = true;
      timer?.[Symbol.dispose]();
    },
  };
}
