import { boundedSignal } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import type { Problems } from './background-problems.ts';

/** Removes older checkpoints, one set after the other. */
export interface Pruner {
  /** Now, unless a drain is under way: then the next checkpoint brings it up again. */
  soon(this: void, set: string): void;
  idle(): Promise<void>;
}

export interface PrunerDependencies {
  readonly prune: (set: string, stop: () => boolean, signal: AbortSignal) => Promise<void>;
  readonly watch: Problems['watch'];
  readonly clock: Clock;
  readonly isDraining: () => boolean;
}

const PRUNE_MS_MAX = 30 * 60_000;

export function createPruner(
  { prune, watch, clock, isDraining }: PrunerDependencies,
  stopping: AbortSignal,
): Pruner {
  const due = new Set<string>();
  let pruning: Promise<void> = Promise.resolve();

  async function pruneAll(): Promise<void> {
    // A set that comes while this runs is taken along.
    for (const set of due) {
      if (stopping.aborted || isDraining()) break;
      using bound = boundedSignal(clock, PRUNE_MS_MAX, stopping);
      await watch(set, () => prune(set, isDraining, bound.signal));
    }
    due.clear();
  }

  return {
    soon(set) {
      due.add(set);
      if (due.size === 1) pruning = pruneAll();
    },
    idle: () => pruning,
  };
}
