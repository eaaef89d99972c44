import { randomUUID } from 'node:crypto';

import type { Clock } from '../base/clock.ts';
import { EvictdError, messageOf } from '../base/errors.ts';
import type { CheckpointPort, CommitResult } from '../core/ports.ts';
import { createCheckpointSet } from './checkpoint-set.ts';
import type { SetActivity } from './progress.ts';
import { createReader } from './reader.ts';
import type { Reader } from './reader.ts';
import type { SetOptions } from './scan.ts';
import { createCommitsUnderWay, createSetLine } from './set-line.ts';
import type { SetLine, TimedCommit } from './set-line.ts';
import type { IdleOptions } from './stage-idle.ts';
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
  /**
   * Something that costs time but loses nothing, for the log: `index-unusable`, `index-unwritten`, `bad-manifest`. Or a
   * checkpoint that may not be what was meant: `files-changing`, `folder-emptied`.
   */
  readonly onNote?: (set: string, error: EvictdError) => void;
  /** Reading threads that are somebody else's to close; without them it has its own. */
  readonly reader?: Reader;
}

export interface Checkpointer extends CheckpointPort {
  /**
   * Asks the store what it has, and looks at the files, so that a notice finds that done. Like `stageIdle` it gives way
   * to stages and commits, and then rejects `gave-way`; otherwise it rejects with what `stage` rejects with.
   */
  prepare(set: string, signal: AbortSignal): Promise<void>;
  /** Stages what is new in files that are quiet; answers why a file was left out. */
  stageIdle(set: string, options: IdleOptions, signal: AbortSignal): Promise<EvictdError | undefined>;
  /** Commits for the reason `schedule`; undefined when nothing has changed since it last did. Never rejects. */
  commitIfChanged(set: string, signal: AbortSignal): Promise<CommitResult | undefined>;
  /** By set name: what was read and sent since the start of this process. */
  activity(): ReadonlyMap<string, Readonly<SetActivity>>;
  /** Waits until nothing is under way any more, the file indexes included: by the signals that were given, and 5 s. */
  close(): Promise<void>;
}

/**
 * Trying again can't help: the set itself or its writers have to change first, and the message says what.
 * A missing container or an unreadable file is not among them: in a window there is nothing to lose by trying.
 */
const HOPELESS: ReadonlySet<string> = new Set([
  'conflict',
  'unknown-set',
  'bad-key',
  'file-too-large',
  'too-many-files',
  'manifest-too-large',
  'manifest-version',
]);

/** Throws `bad-key` when prefix, key or a set's name can't stand in a blob name. */
export function createCheckpointer(
  options: CheckpointerOptions,
  dependencies: CheckpointerDependencies,
): Checkpointer {
  const { store, clock, onNote = () => undefined } = dependencies;
  const transfer = createTransfer(options.limits ?? TRANSFER_LIMITS, { clock });
  const reader = dependencies.reader ?? createReader({ clock });
  const commits = createCommitsUnderWay({
    onFirst: () => {
      for (const line of lines.values()) line.giveWay();
    },
    onNone: () => {
      for (const line of lines.values()) line.afterCommits();
    },
  });
  const writer = { ...options.writer, process: randomUUID() };
  const { prefix, key, indexDirectory } = options;
  const lines = new Map(
    options.sets.map((set) => {
      const create = (rank: () => number) =>
        createCheckpointSet(
          { prefix, key, set, writer, indexDirectory },
          { store, transfer: transfer.withRank(rank), reader, clock, onNote },
        );
      return [set.name, createSetLine(set, { create, commits, clock, onNote })];
    }),
  );
  const lineOf = (set: string): SetLine => {
    const line = lines.get(set);
    if (line !== undefined) return line;
    throw new EvictdError('unknown-set', `there is no checkpoint set ${JSON.stringify(set)}`, {
      remedy: `the sets are: ${[...lines.keys()].join(', ') || 'none'}`,
    });
  };

  return {
    stage: (set, signal) => explaining(signal, () => lineOf(set).stage(signal)),
    prepare: (set, signal) => explaining(signal, () => lineOf(set).prepare(signal)),
    async stageIdle(set, idle, signal) {
      const problem = await explaining(signal, () => lineOf(set).stageIdle(idle, signal));
      // Most passes only look, and the next one comes later than the threads would wait for it.
      reader.rest();
      return problem;
    },
    commit: (request, signal) =>
      answering(signal, async () => resultOf(await lineOf(request.set).commit(request, signal))),
    commitIfChanged: (set, signal) =>
      answering(signal, async () => {
        const taken = await lineOf(set).commitIfChanged(signal);
        return taken && resultOf(taken);
      }),
    estimate() {
      const sets = [...lines.values()].map((line) => line.set);
      const left = sets.map(({ tracker }) => tracker.bytes - tracker.bytesStored);
      return {
        bytesLeft: sets.every(({ activity }) => activity.scans > 0) ? sum(left) : undefined,
        bytesPerSecond: transfer.bytesPerSecond,
      };
    },
    progress: () => [...lines.values()].map((line) => line.progress()),
    activity: () => new Map([...lines].map(([name, line]) => [name, line.set.activity])),
    close: async () => {
      await Promise.all([...lines.values()].map((line) => line.idle()));
      if (dependencies.reader === undefined) reader.close();
      transfer[Symbol.dispose]();
    },
  };
}

async function explaining<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw explained(error, signal);
  }
}

async function answering<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T | CommitResult> {
  try {
    return await work();
  } catch (error) {
    return failed(explained(error, signal));
  }
}

function resultOf({ lost, ...taken }: TimedCommit): CommitResult {
  return lost === undefined ? { kind: 'committed', ...taken } : { ...failed(lost), id: taken.id };
}

function failed({ code, message, remedy }: EvictdError): CommitResult & { kind: 'failed' } {
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
