import { boundedSignal, sleep } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import type { Problems } from './background-problems.ts';

/** Removes older checkpoints, one set after the other. */
export interface Pruner {
  /** Now; after a drain that is under way, and again after a failure. */
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
const AGAIN_MS = 60_000;

export function createPruner(
  { prune, watch, clock, isDraining }: PrunerDependencies,
  stopping: AbortSignal,
): Pruner {
  const due = new Set<string>();
  let pruning: Promise<void> | undefined;

  async function pruneAll(): Promise<void> {
    while (!stopping.aborted) {
      // A set that comes while this runs is taken along.
      const [set] = due;
      if (set === undefined) break;
      due.delete(set);
      let isDone = false;
      const work = async () => {
        using bound = boundedSignal(clock, PRUNE_MS_MAX, stopping);
        await prune(set, isDraining, bound.signal);
        isDone = !isDraining();
      };
      if (!isDraining()) await watch(set, work);
      if (isDone) continue;
      // It has failed, or a drain comes first.
      due.add(set);
      await sleep(clock, AGAIN_MS, stopping).catch(() => undefined);
    }
    pruning = undefined;
  }

  return {
    soon(set) {
      due.add(set);
      pruning ??= pruneAll();
    },
    idle: async () => pruning,
  };
}
