import { boundedSignal, sleep } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
import type { Checkpointer } from '../checkpoint/commit/checkpointer.ts';
import { createPace } from '../checkpoint/commit/pace.ts';
import type { CommitResult } from '../core/ports.ts';
import { createProblems, isOrdinaryCode } from './background-problems.ts';
import { createPruner } from './background-prune.ts';

/** What is done about checkpoints between notices, so that a notice finds little left to do. */
export interface Background {
  /** What goes wrong at the moment, by set. */
  problem(): EvictdError | undefined;
  /** After a checkpoint of the set: removes what is older than what is to be kept, once no drain is under way. */
  pruneSoon(set: string): void;
  stop(): Promise<void>;
}

export interface BackgroundOptions {
  readonly sets: readonly string[];
  readonly staging:
    | { readonly intervalMs: number; readonly idleMs: number; readonly bytesPerSecond: number }
    | undefined;
  /** Milliseconds between two scheduled commits. */
  readonly everyMs: number | undefined;
}

export interface BackgroundDependencies {
  readonly checkpointer: Pick<Checkpointer, 'prepare' | 'stageIdle' | 'commitIfChanged'>;
  /** Removes the older checkpoints; ends early, however far it is, once `stop` says so. */
  readonly prune: (set: string, stop: () => boolean, signal: AbortSignal) => Promise<void>;
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  readonly isDraining: () => boolean;
  /** A scheduled commit has ended. */
  readonly onCommit: (set: string, result: CommitResult) => void;
  /** Hears each new reason once. */
  readonly onProblem: (set: string, error: EvictdError) => void;
  readonly onWorks: (set: string) => void;
}

/** One pass over one set; the next goes on where it ended. */
const PASS_MS_MAX = 3_600_000;
const COMMIT_MS_MAX = 30 * 60_000;
const RETRY_FIRST_MS = 5000;
const RETRY_CAP_MS = 300_000;
/*
 * INVARIANTS
 * - Nothing begins while a drain is under way. What is under way when one begins is ended by the engine, which makes
 *   everything here give way to the drain's own calls.
 * - At most one pass of staging, one scheduled commit and one removal of older checkpoints at a time.
 */
export function startBackground(
  options: BackgroundOptions,
  dependencies: BackgroundDependencies,
): Background {
  const { clock, random, isDraining } = dependencies;
  const stopping = new AbortController();
  const problems = createProblems(dependencies);

  const everySet: EverySet = async (limitMs, work) => {
    for (const set of options.sets) {
      if (isDraining() || stopping.signal.aborted) return;
      using bound = boundedSignal(clock, limitMs, stopping.signal);
      await problems.watch(set, () => work(set, bound.signal));
    }
  };
  const pause = (delayMs: number) => sleep(clock, delayMs, stopping.signal);

  async function stageAgainAndAgain(): Promise<void> {
    // Staging looks at all sets again and again anyway; one that can't be looked at must not keep the others from it.
    const isOnce = options.staging !== undefined;
    const prepare = async (set: string, signal: AbortSignal) => {
      await dependencies.checkpointer.prepare(set, signal);
      // A VM that is evicted leaves one more checkpoint, and has no time to remove what is then one too many.
      pruner.soon(set);
    };
    await prepareAll({ sets: options.sets, isOnce }, prepare, everySet, pause);
    if (options.staging === undefined) return;
    const { intervalMs, idleMs, bytesPerSecond } = options.staging;
    const idle = { idleMs, pace: createPace({ bytesPerSecond }, { clock }) };
    // VMs that were started together must not come to the store together.
    await pause(intervalMs * random());
    for (;;) {
      await everySet(PASS_MS_MAX, async (set, signal) => {
        const problem = await dependencies.checkpointer.stageIdle(set, idle, signal);
        if (problem !== undefined) throw problem;
      });
      await pause(intervalMs);
    }
  }

  async function commitAgainAndAgain(everyMs: number): Promise<void> {
    for (;;) {
      await pause(everyMs * (0.9 + random() / 5));
      await everySet(COMMIT_MS_MAX, async (set, signal) => {
        const result = await dependencies.checkpointer.commitIfChanged(set, signal);
        if (result !== undefined && !isOrdinary(result)) dependencies.onCommit(set, result);
        if (result?.id !== undefined) pruner.soon(set);
      });
    }
  }

  const watch: typeof problems.watch = (set, work) => problems.watch(`${set}, its older checkpoints`, work);
  const pruner = createPruner({ ...dependencies, watch }, stopping.signal);

  const loops = [
    stageAgainAndAgain(),
    ...(options.everyMs === undefined ? [] : [commitAgainAndAgain(options.everyMs)]),
  ];
  // They only ever end early because of the stop: what goes wrong inside is kept as a problem.
  const over = Promise.allSettled(loops);
  return {
    problem: problems.first,
    pruneSoon: pruner.soon,
    async stop() {
      stopping.abort(new EvictdError('aborted', 'evictd stops'));
      await over;
      await pruner.idle();
    },
  };
}

/** Works on one set after the other, as long as no drain is under way; what goes wrong is kept as a problem. */
type EverySet = (limitMs: number, work: (set: string, signal: AbortSignal) => Promise<void>) => Promise<void>;

/** Tries each set, and unless that `isOnce` again until each was prepared. */
async function prepareAll(
  { sets, isOnce }: { readonly sets: readonly string[]; readonly isOnce: boolean },
  prepare: (set: string, signal: AbortSignal) => Promise<void>,
  everySet: EverySet,
  pause: (delayMs: number) => Promise<void>,
): Promise<void> {
  const open = new Set(sets);
  for (let delayMs = RETRY_FIRST_MS; ;) {
    let tried = false;
    await everySet(PASS_MS_MAX, async (set, signal) => {
      if (!open.has(set)) return;
      tried = true;
      await prepare(set, signal);
      open.delete(set);
    });
    if (open.size === 0 || (isOnce && tried)) return;
    await pause(delayMs);
    // That a drain was under way is no failure: after it the next notice wants to know what there is to move.
    delayMs = tried ? Math.min(delayMs * 2, RETRY_CAP_MS) : RETRY_FIRST_MS;
  }
}

function isOrdinary(result: CommitResult): boolean {
  return result.kind === 'failed' && isOrdinaryCode(result.code);
}
