import type { Clock, MonotonicMs } from '../base/clock.ts';
import type { EvictdError } from '../base/errors.ts';
import type { CheckpointReason, CommitRequest, SetProgress } from '../core/ports.ts';
import type { CheckpointSet, Committed } from './checkpoint-set.ts';
import { createIndexSaver } from './index-saver.ts';
import type { IdleOptions } from './stage-idle.ts';
import { createTurns, gaveWay } from './turns.ts';
import type { TurnKind } from './turns.ts';

/** A set, with its calls one after the other. */
export interface SetLine {
  readonly set: CheckpointSet;
  stage(signal: AbortSignal): Promise<void>;
  commit(request: CommitRequest, signal: AbortSignal): Promise<TimedCommit>;
  /** Asks the store and looks at the files. Rejects `gave-way` when somebody needs the set meanwhile. */
  prepare(signal: AbortSignal): Promise<void>;
  /** See stage-idle.ts. Rejects `gave-way` when somebody needed the set before anything was sent. */
  stageIdle(options: IdleOptions, signal: AbortSignal): Promise<EvictdError | undefined>;
  /** A scheduled commit, unless nothing has changed since the last one. */
  commitIfChanged(signal: AbortSignal): Promise<TimedCommit | undefined>;
  progress(): SetProgress;
  /** What runs in the background ends at its next block. */
  giveWay(): void;
  /** No commit is under way any more: what had to wait for that begins. */
  afterCommits(): void;
  /** Resolves when nothing is under way, and the file index is on disk. */
  idle(): Promise<void>;
}

export interface TimedCommit extends Committed {
  readonly durationMs: number;
}

/** Commits of all sets that wait or run. */
export interface CommitsUnderWay {
  begin(): Disposable;
  any(): boolean;
}

export interface SetLineOptions {
  readonly name: string;
  /** Lower goes first where commits of several sets compete. */
  readonly priority: number;
}

export interface SetLineDependencies {
  /** Makes the set; what it waits for it gets by `rank`, the lowest first. */
  readonly create: (rank: () => number) => CheckpointSet;
  readonly commits: CommitsUnderWay;
  readonly clock: Clock;
  readonly onNote: (set: string, error: EvictdError) => void;
}

/** Above all priorities: what is only staged waits behind everything that is committed. */
const STAGING_RANK = 1_000_000;

/*
 * INVARIANTS (beside those of turns.ts)
 * - A commit that waits or runs, of whichever set, makes all stages stop at their next block; what they have in flight
 *   is used, not repeated.
 * - What runs in the background gives way to everything else, and begins only while no commit is under way. A
 *   scheduled commit gives way to a drain, and any commit to the drain's own: what they have sent is used by that.
 * - Nothing here waits for the file index to be on disk.
 */
export function createSetLine(options: SetLineOptions, dependencies: SetLineDependencies): SetLine {
  const { name, priority } = options;
  const { commits, clock, onNote } = dependencies;
  let isCommitting = false;
  const set = dependencies.create(() => (isCommitting ? priority : STAGING_RANK + priority));
  const index = createIndexSaver(options, {
    save: () => set.saveIndex(),
    isCommitting: () => commits.any(),
    clock,
    onFailure: (error) => onNote(name, error),
  });
  const turns = createTurns(options, { onOvertaken: () => set.reload() });
  const run = <T>(kind: TurnKind, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>) =>
    turns.run(kind, signal, (inner) => {
      index.changed();
      return work(inner);
    });
  const inBackground = <T>(signal: AbortSignal, work: (giveWay: AbortSignal) => Promise<T>) =>
    run('background', signal, async (giveWay) => {
      if (commits.any()) throw gaveWay(name);
      const result = await work(giveWay);
      index.begin();
      return result;
    });
  const commit = async (reason: CheckpointReason, startedAt: MonotonicMs, signal: AbortSignal) => {
    isCommitting = true;
    try {
      const committed = await set.commit(reason, signal);
      const durationMs = Math.round(clock.monotonicMs() - startedAt);
      return { ...committed, durationMs };
    } finally {
      isCommitting = false;
    }
  };

  return {
    set,
    giveWay: () => turns.giveWay('background'),
    stage(signal) {
      turns.giveWay('background', 'schedule');
      return run('stage', signal, (inner) => set.stage(() => commits.any(), inner));
    },
    async commit({ reason }, signal) {
      const startedAt = clock.monotonicMs();
      using _underWay = commits.begin();
      if (reason === 'notice') turns.giveWay('schedule', 'command', 'rebalance', 'shutdown');
      return await run(reason, signal, (inner) => commit(reason, startedAt, inner));
    },
    async commitIfChanged(signal) {
      const startedAt = clock.monotonicMs();
      using _underWay = commits.begin();
      return await run('schedule', signal, async (inner) =>
        (await set.isChanged(inner)) ? commit('schedule', startedAt, inner) : undefined,
      );
    },
    prepare: (signal) => inBackground(signal, (giveWay) => set.prepare(giveWay)),
    stageIdle: (idle, signal) => inBackground(signal, (giveWay) => set.stageIdle(idle, giveWay, signal)),
    progress: () => ({ name, ...progressOf(set) }),
    afterCommits: () => index.begin(),
    async idle() {
      await turns.idle();
      await index.finish();
    },
  };
}

function progressOf(set: CheckpointSet) {
  const { files, bytes, bytesStored } = set.tracker;
  const { id, at } = set.newest() ?? {};
  return { files, bytes, bytesStored, bytesSent: set.activity.bytesSent, committedAt: at, checkpointId: id };
}

/** `onFirst` is called each time one begins beside no other, `onNone` each time the last one has ended. */
export function createCommitsUnderWay(dependencies: {
  readonly onFirst: () => void;
  readonly onNone: () => void;
}): CommitsUnderWay {
  const underWay = new Set<symbol>();
  return {
    begin() {
      const one = Symbol('a commit');
      underWay.add(one);
      if (underWay.size === 1) dependencies.onFirst();
      return {
        [Symbol.dispose]() {
          if (underWay.delete(one) && underWay.size === 0) dependencies.onNone();
        },
      };
    },
    any: () => underWay.size > 0,
  };
}
