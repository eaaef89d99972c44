import { randomUUID } from 'node:crypto';

import { abandonOn } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { createGate } from '../base/concurrency.ts';
import { EvictdError, messageOf } from '../base/errors.ts';
import type { CheckpointPort, CommitRequest, CommitResult, SetProgress } from '../core/ports.ts';
import { createCheckpointSet } from './checkpoint-set.ts';
import type { CheckpointSet, SetActivity } from './checkpoint-set.ts';
import { createReader } from './reader.ts';
import type { SetOptions } from './scan.ts';
import type { BlobStore } from './store.ts';
import { createTransfer, TRANSFER_LIMITS } from './transfer.ts';
import type { TransferLimits } from './transfer.ts';

export interface CheckpointerOptions {
  /** Below the container; may be empty. */
  readonly prefix: string;
  /** Who shares a line of checkpoints. */
  readonly key: string;
  readonly sets: readonly SetOptions[];
  readonly writer: { readonly vmName: string; readonly vmId: string; readonly bootId: string };
  /** Where the file indexes are kept between processes; without it they are rebuilt by reading all files. */
  readonly indexDirectory?: string;
  /** Over all sets. */
  readonly limits?: TransferLimits;
}

export interface CheckpointerDependencies {
  readonly store: BlobStore;
  readonly clock: Clock;
  /** Something that costs time but loses nothing, for the log: `index-unusable`, `index-unwritten`, `bad-manifest`. */
  readonly onNote?: (set: string, error: EvictdError) => void;
}

export interface Checkpointer extends CheckpointPort {
  /** By set name: what was read and sent since the start of this process. */
  activity(): ReadonlyMap<string, Readonly<SetActivity>>;
  /** Waits until nothing is under way any more, the file indexes included. Bounded by the signals that were given. */
  close(): Promise<void>;
}

/** Trying again can't help: something outside has to change first, and the message says what. */
const HOPELESS: ReadonlySet<string> = new Set([
  'conflict',
  'container-not-found',
  'unknown-set',
  'bad-key',
  'file-too-large',
  'too-many-files',
  'manifest-too-large',
  'manifest-version',
  'file-unreadable',
]);

/** Throws `bad-key` when prefix, key or a set's name can't stand in a blob name. */
export function createCheckpointer(
  options: CheckpointerOptions,
  dependencies: CheckpointerDependencies,
): Checkpointer {
  const { store, clock, onNote = () => undefined } = dependencies;
  const transfer = createTransfer(options.limits ?? TRANSFER_LIMITS, { clock });
  const reader = createReader({ clock });
  const writer = { ...options.writer, process: randomUUID() };
  const { prefix, key, indexDirectory } = options;
  const lines = new Map(
    options.sets.map((set) => {
      const line = createCheckpointSet(
        { prefix, key, set, writer, indexDirectory },
        { store, transfer, reader, clock, onNote },
      );
      return [set.name, createLine(set.name, line, clock, onNote)];
    }),
  );
  const lineOf = (set: string): Line => {
    const line = lines.get(set);
    if (line !== undefined) return line;
    throw new EvictdError('unknown-set', `there is no checkpoint set ${JSON.stringify(set)}`, {
      remedy: `the sets are: ${[...lines.keys()].join(', ') || 'none'}`,
    });
  };

  return {
    async stage(set, signal) {
      try {
        await lineOf(set).stage(signal);
      } catch (error) {
        throw explained(error, signal);
      }
    },
    async commit(request, signal) {
      try {
        return await lineOf(request.set).commit(request, signal);
      } catch (error) {
        return failed(error, signal);
      }
    },
    estimate: () => ({
      bytesLeft: sum([...lines.values()].map(({ set: { tracker } }) => tracker.bytes - tracker.bytesStored)),
      bytesPerSecond: transfer.bytesPerSecond,
    }),
    progress: () => [...lines.values()].map((line) => line.progress()),
    activity: () => new Map([...lines].map(([name, line]) => [name, line.set.activity])),
    close: async () => {
      await Promise.all([...lines.values()].map((line) => line.idle()));
      reader.close();
    },
  };
}

/** A set, with its calls one after the other. */
interface Line {
  readonly set: CheckpointSet;
  stage(signal: AbortSignal): Promise<void>;
  commit(request: CommitRequest, signal: AbortSignal): Promise<CommitResult>;
  progress(): SetProgress;
  /** Resolves when nothing is under way. */
  idle(): Promise<void>;
}

/*
 * INVARIANTS
 * - One call at a time works on a set; the others wait in the order in which they came, each under its own signal.
 * - A commit that waits makes a stage stop at its next block; what that one has in flight is used, not repeated.
 * - The caller of a commit has its answer before the file index is on disk; the next call waits for the index.
 * - A conflict is for good: this process never goes on from what the other writer wrote.
 */
function createLine(
  name: string,
  set: CheckpointSet,
  clock: Clock,
  onNote: (set: string, error: EvictdError) => void,
): Line {
  const turn = createGate({ placesMax: 1, weightMax: 1 });
  let commitsWaiting = 0;
  let conflict: EvictdError | undefined;
  let last: { readonly id: string; readonly at: number } | undefined;

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
    stage: (signal) => inTurn(signal, () => set.stage(() => commitsWaiting > 0, signal)),
    async commit({ reason }, signal) {
      const startedAt = clock.monotonicMs();
      let waiting = true;
      const begun = () => {
        if (waiting) commitsWaiting--;
        waiting = false;
      };
      commitsWaiting++;
      try {
        const committed = await inTurn(signal, () => {
          begun();
          return set.commit(reason, signal);
        });
        last = { id: committed.id, at: clock.wallMs() };
        return { kind: 'committed', ...committed, durationMs: clock.monotonicMs() - startedAt };
      } finally {
        begun();
      }
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

function failed(error: unknown, signal: AbortSignal): CommitResult {
  const { code, message, remedy } = explained(error, signal);
  const detail = remedy === undefined ? message : `${message}; ${remedy}`;
  return { kind: 'failed', code, detail, retryable: !HOPELESS.has(code) };
}

/** Whatever broke after the abort broke because of it. */
function explained(error: unknown, signal: AbortSignal): EvictdError {
  const cause: unknown = signal.aborted ? signal.reason : error;
  if (cause instanceof EvictdError) return cause;
  return new EvictdError(signal.aborted ? 'aborted' : 'file-failed', messageOf(cause), { cause });
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
