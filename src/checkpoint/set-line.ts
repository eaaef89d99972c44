import { abandonOn } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { createGate } from '../base/concurrency.ts';
import { EvictdError } from '../base/errors.ts';
import type { CommitRequest, CommitResult, SetProgress } from '../core/ports.ts';
import type { CheckpointSet } from './checkpoint-set.ts';
import { createIndexSaver } from './index-saver.ts';

/** A set, with its calls one after the other. */
export interface SetLine {
  readonly set: CheckpointSet;
  stage(signal: AbortSignal): Promise<void>;
  commit(request: CommitRequest, signal: AbortSignal): Promise<CommitResult>;
  progress(): SetProgress;
  /** No commit is under way any more: what had to wait for that begins. */
  afterCommits(): void;
  /** Resolves when nothing is under way, and the file index is on disk. */
  idle(): Promise<void>;
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
 * INVARIANTS
 * - One call at a time works on a set; the others wait in the order in which they came, each under its own signal.
 * - A commit that waits or runs, of whichever set, makes all stages stop at their next block; what they have in flight
 *   is used, not repeated.
 * - Nothing here waits for the file index to be on disk.
 * - A conflict is for good: this process never goes on from what another VM wrote. What another process of this VM
 *   wrote is where the next attempt goes on.
 */
export function createSetLine(options: SetLineOptions, dependencies: SetLineDependencies): SetLine {
  const { name, priority } = options;
  const { commits, clock, onNote } = dependencies;
  const turn = createGate({ placesMax: 1, weightMax: 1 });
  let isCommitting = false;
  let conflict: EvictdError | undefined;
  let last: { readonly id: string; readonly at: number } | undefined;
  const set = dependencies.create(() => (isCommitting ? priority : STAGING_RANK + priority));

  const index = createIndexSaver(options, {
    save: () => set.saveIndex(),
    isCommitting: () => commits.any(),
    clock,
    onFailure: (error) => onNote(name, error),
  });

  /** Runs `work` when it is its turn. At the abort the answer comes at once; the turn ends when the work has. */
  const inTurn = async <T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> => {
    const place = await turn.enter(1, signal);
    const finished = conflict === undefined ? work() : Promise.reject(conflict);
    const settled = finished.then(
      () => undefined,
      (error: unknown) => {
        if (!(error instanceof EvictdError)) return;
        if (error.code === 'conflict') conflict ??= error;
        if (error.code === 'overtaken') set.reload();
      },
    );
    void settled.then(() => place[Symbol.dispose]());
    index.changed();
    return abandonOn(signal, finished);
  };

  return {
    set,
    stage: (signal) => inTurn(signal, () => set.stage(() => commits.any(), signal)),
    async commit({ reason }, signal) {
      const startedAt = clock.monotonicMs();
      using _underWay = commits.begin();
      const committed = await inTurn(signal, async () => {
        isCommitting = true;
        try {
          return await set.commit(reason, signal);
        } finally {
          isCommitting = false;
        }
      });
      last = { id: committed.id, at: clock.wallMs() };
      return { kind: 'committed', ...committed, durationMs: Math.round(clock.monotonicMs() - startedAt) };
    },
    progress: () => ({
      name,
      files: set.tracker.files,
      bytes: set.tracker.bytes,
      bytesStored: set.tracker.bytesStored,
      bytesSent: set.activity.bytesSent,
      committedAt: last?.at,
      checkpointId: last?.id,
    }),
    afterCommits: () => index.begin(),
    async idle() {
      const never = new AbortController().signal;
      (await turn.enter(1, never))[Symbol.dispose]();
      await index.finish();
    },
  };
}

/** `onNone` is called each time the last one has ended. */
export function createCommitsUnderWay(dependencies: { readonly onNone: () => void }): CommitsUnderWay {
  const underWay = new Set<symbol>();
  return {
    begin() {
      const one = Symbol('a commit');
      underWay.add(one);
      return {
        [Symbol.dispose]() {
          if (underWay.delete(one) && underWay.size === 0) dependencies.onNone();
        },
      };
    },
    any: () => underWay.size > 0,
  };
}
