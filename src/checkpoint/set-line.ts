import { abandonOn } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { createGate } from '../base/concurrency.ts';
import { EvictdError, messageOf } from '../base/errors.ts';
import type { CommitRequest, CommitResult, SetProgress } from '../core/ports.ts';
import type { CheckpointSet } from './checkpoint-set.ts';

/** A set, with its calls one after the other. */
export interface SetLine {
  readonly set: CheckpointSet;
  stage(signal: AbortSignal): Promise<void>;
  commit(request: CommitRequest, signal: AbortSignal): Promise<CommitResult>;
  progress(): SetProgress;
  /** Resolves when nothing is under way. */
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
 * - The caller of a commit has its answer before the file index is on disk; the next call waits for the index.
 * - A conflict is for good: this process never goes on from what the other writer wrote.
 */
export function createSetLine(options: SetLineOptions, dependencies: SetLineDependencies): SetLine {
  const { name, priority } = options;
  const { commits, clock, onNote } = dependencies;
  const turn = createGate({ placesMax: 1, weightMax: 1 });
  let isCommitting = false;
  let conflict: EvictdError | undefined;
  let last: { readonly id: string; readonly at: number } | undefined;
  const set = dependencies.create(() => (isCommitting ? priority : STAGING_RANK + priority));

  /** Runs `work` when it is its turn. At the abort the answer comes at once; the turn ends when the work has. */
  const inTurn = async <T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> => {
    const place = await turn.enter(1, signal);
    const finished = conflict === undefined ? work() : Promise.reject(conflict);
    const settled = finished.then(
      () => undefined,
      (error: unknown) => {
        if (error instanceof EvictdError && error.code === 'conflict') conflict ??= error;
      },
    );
    void settled.then(() => saveIndex(name, set, onNote)).finally(() => place[Symbol.dispose]());
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
    async idle() {
      const never = new AbortController().signal;
      (await turn.enter(1, never))[Symbol.dispose]();
    },
  };
}

export function createCommitsUnderWay(): CommitsUnderWay {
  const underWay = new Set<symbol>();
  return {
    begin() {
      const one = Symbol('a commit');
      underWay.add(one);
      return { [Symbol.dispose]: () => void underWay.delete(one) };
    },
    any: () => underWay.size > 0,
  };
}

async function saveIndex(
  name: string,
  set: CheckpointSet,
  onNote: (set: string, error: EvictdError) => void,
): Promise<void> {
  try {
    await set.saveIndex();
  } catch (error) {
    onNote(
      name,
      new EvictdError('index-unwritten', `the file index of ${name} can't be written: ${messageOf(error)}`, {
        remedy: 'make room in state.dir; until then a restart reads all files again',
        cause: error,
      }),
    );
  }
}
