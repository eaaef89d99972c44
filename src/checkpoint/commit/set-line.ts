import type { Clock, MonotonicMs } from '../../base/clock.ts';
import { EvictdError } from '../../base/errors.ts';
import type { CommitRequest, SetProgress } from '../../core/ports.ts';
import { explained, onlyPartial } from './commit-error.ts';
import type { CheckpointSet, Committed } from './checkpoint-set.ts';
import type { IdleOptions } from './stage-idle.ts';
import { createTurns, gaveWay } from './turns.ts';

/** A set, with its calls one after the other. */
export interface SetLine {
  readonly set: CheckpointSet;
  stage(signal: AbortSignal): Promise<void>;
  commit(request: CommitRequest, signal: AbortSignal): Promise<TimedCommit>;
  /** Rejects `gave-way` when somebody needs the set meanwhile. */
  prepare(signal: AbortSignal): Promise<void>;
  /** See stage-idle.ts. Rejects `gave-way` when somebody needed the set before anything was sent. */
  stageIdle(options: IdleOptions, signal: AbortSignal): Promise<EvictdError | undefined>;
  progress(): SetProgress;
  /** What runs in the background ends at its next part. */
  giveWay(): void;
  /**
   * Resolves when nothing is under way, and the local index is on disk; or after 5 s, where something hangs: a mount
   * whose server has gone, or the disk.
   */
  close(): Promise<void>;
}

export interface TimedCommit extends Committed {
  readonly durationMs: number;
}

/** Commits of all sets that wait or run. */
export interface CommitsUnderWay {
  begin(): Disposable;
  any(): boolean;
}

export interface SetLineDependencies {
  readonly set: CheckpointSet;
  readonly commits: CommitsUnderWay;
  readonly clock: Clock;
  /** `index-unwritten`. */
  readonly onNote: (error: EvictdError) => void;
}

const CLOSE_MS_MAX = 5000;

/*
 * INVARIANTS (beside those of turns.ts)
 * - A commit that waits or runs, of whichever set, makes all stages stop at their next part; what they have in flight is
 *   used, not repeated.
 * - What runs in the background gives way to everything else, and begins only while no commit is under way. A
 *   scheduled commit gives way to a drain, and any commit to the drain's own: what they have sent is used by that.
 */
export function createSetLine(
  { name }: { readonly name: string },
  { set, commits, clock, onNote }: SetLineDependencies,
): SetLine {
  const turns = createTurns({ name });
  const inBackground = <T>(signal: AbortSignal, work: (giveWay: AbortSignal) => Promise<T>) =>
    turns.run('background', signal, async (giveWay) => {
      if (commits.any()) throw gaveWay(name);
      return work(giveWay);
    });
  const commit = async (
    request: CommitRequest,
    {
      startedAt,
      onPartial,
    }: { readonly startedAt: MonotonicMs; readonly onPartial: (made: Committed) => void },
    signal: AbortSignal,
  ) => {
    const committed = await set.commit(request, onPartial, signal);
    return { ...committed, durationMs: Math.round(clock.monotonicMs() - startedAt) };
  };
  return {
    set,
    giveWay: () => turns.giveWay('background'),
    stage(signal) {
      turns.giveWay('background', 'schedule');
      return turns.run('stage', signal, (inner) => set.stage(() => commits.any(), inner));
    },
    async commit(request, signal) {
      const { reason, takeOver } = request;
      const startedAt = clock.monotonicMs();
      using _underWay = commits.begin();
      if (reason === 'notice') turns.giveWay('schedule', 'command', 'rebalance', 'shutdown');
      let partial: Committed | undefined;
      const onPartial = (made: Committed) => void (partial = made);
      try {
        const begun = { startedAt, onPartial };
        return await turns.run(reason, signal, (inner) => commit(request, begun, inner), takeOver);
      } catch (error) {
        const cause = explained(error, signal);
        // After a conflict it is gone again.
        if (partial === undefined || cause.code === 'conflict') throw error;
        const durationMs = Math.round(clock.monotonicMs() - startedAt);
        return { ...partial, durationMs, lost: onlyPartial(partial.id, cause) };
      }
    },
    prepare: (signal) => inBackground(signal, (giveWay) => set.prepare(giveWay)),
    stageIdle: (idle, signal) => inBackground(signal, (giveWay) => set.stageIdle(idle, giveWay, signal)),
    progress: () => ({ name, ...progressOf(set) }),
    async close() {
      const late = Promise.withResolvers<void>();
      using _timer = clock.timer(CLOSE_MS_MAX, () => late.resolve());
      const save = async () => {
        await turns.idle();
        try {
          await set.save();
        } catch (error) {
          if (!(error instanceof EvictdError)) throw error;
          onNote(error);
        }
        await set.close();
      };
      await Promise.race([save(), late.promise]);
    },
  };
}

function progressOf(set: CheckpointSet) {
  const { files, bytes, bytesStored } = set.tracker;
  const { id, at } = set.newest() ?? {};
  const scanned = set.activity.scans > 0;
  return {
    scanned,
    files,
    bytes,
    bytesStored,
    bytesSent: set.activity.bytesSent,
    committedAt: at,
    checkpointId: id,
  };
}

/** `onFirst` is called each time one begins beside no other. */
export function createCommitsUnderWay(dependencies: { readonly onFirst: () => void }): CommitsUnderWay {
  const underWay = new Set<symbol>();
  return {
    begin() {
      const one = Symbol('a commit');
      underWay.add(one);
      if (underWay.size === 1) dependencies.onFirst();
      return { [Symbol.dispose]: () => void underWay.delete(one) };
    },
    any: () => underWay.size > 0,
  };
}
