import type { Clock } from '../../base/clock.ts';
import { EvictdError } from '../../base/errors.ts';
import type { CheckpointPort, CommitResult } from '../../core/ports.ts';
import type { HashSpec } from '../format/chunk.ts';
import type { Writer } from '../format/manifest.ts';
import { newProcess } from '../format/names.ts';
import type { SetOptions } from '../scan/set-options.ts';
import type { BlobStore } from '../store/store.ts';
import type { Workers } from '../worker/workers.ts';
import { createCheckpointSet } from './checkpoint-set.ts';
import { explained } from './commit-error.ts';
import { type SetActivity, createRateMeter } from './progress.ts';
import { type SetLine, type TimedCommit, createCommitsUnderWay, createSetLine } from './set-line.ts';
import type { IdleOptions } from './stage-idle.ts';

export interface CheckpointerOptions {
  /** Below the container; may be empty. */
  readonly prefix: string;
  /** Who shares a line of checkpoints. */
  readonly key: string;
  readonly sets: readonly SetOptions[];
  readonly writer: Writer;
  /** Where the local indexes are kept between processes; without it all files are read at each start. */
  readonly indexDirectory?: string;
  /** For sets that nobody has written yet. */
  readonly hash?: HashSpec['name'];
  /** Where packs of a set go, when not to its own place: a rehearsal's. */
  readonly packPrefix?: (set: string) => string;
}

export interface CheckpointerDependencies {
  /** Which writes manifests and lists; packs go by the workers' own. */
  readonly store: BlobStore;
  readonly workers: Workers;
  readonly clock: Clock;
  /**
   * Something that costs time but loses nothing, for the log: `index-unusable`, `index-unwritten`, `bad-manifest`,
   * `packs-gone`, `took-over`, `store-went-back`. Or a checkpoint that may not be what was meant: `files-changing`,
   * `folder-emptied`.
   */
  readonly onNote?: (set: string, error: EvictdError) => void;
}

export interface Checkpointer extends CheckpointPort {
  /**
   * Asks the store what it has, and looks at the files, so that a notice finds that done. Like `stageIdle` it gives way
   * to stages and commits, and then rejects `gave-way`; otherwise it rejects with what `stage` rejects with.
   */
  prepare(set: string, signal: AbortSignal): Promise<void>;
  /** Stages what is new in files that are quiet; answers why a file was left out. */
  stageIdle(
    set: string,
    options: Omit<IdleOptions, 'leftBytesMax'>,
    signal: AbortSignal,
  ): Promise<EvictdError | undefined>;
  /** Commits for the reason `schedule`; undefined when nothing has changed since the newest one. Never rejects. */
  commitIfChanged(set: string, signal: AbortSignal): Promise<CommitResult | undefined>;
  /** By set name: what was read and sent since the start of this process. */
  activity(): ReadonlyMap<string, Readonly<SetActivity>>;
  /** Waits until nothing is under way any more: by the signals that were given, and 5 s for the local indexes. */
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
  'too-many-files',
  'manifest-version',
]);

/** Short leftovers stay on disk, so many bytes over all sets. */
const LEFT_BYTES_MAX = 32 * 1024 ** 2;

/** Throws `bad-key` when prefix, key or a set's name can't stand in a blob name. */
export function createCheckpointer(
  options: CheckpointerOptions,
  dependencies: CheckpointerDependencies,
): Checkpointer {
  const { store, workers, clock, onNote = () => undefined } = dependencies;
  const { prefix, key, sets, writer, indexDirectory, hash = 'gmac-128', packPrefix } = options;
  const meter = createRateMeter(clock);
  const commits = createCommitsUnderWay({
    onFirst: () => {
      for (const line of lines.values()) line.giveWay();
    },
  });
  const process = newProcess();
  const lines = new Map(
    sets.map((set): [string, SetLine] => {
      const place = { prefix, key, set: set.name };
      const checkpointSet = createCheckpointSet(
        { place, set, writer, process, hash, indexDirectory, packPrefix: packPrefix?.(set.name) },
        { store, workers, clock, meter, onNote },
      );
      const note = (error: EvictdError) => onNote(set.name, error);
      return [set.name, createSetLine(set, { set: checkpointSet, commits, clock, onNote: note })];
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
      const leftBytesMax = LEFT_BYTES_MAX / lines.size;
      const problem = await explaining(signal, () =>
        lineOf(set).stageIdle({ ...idle, leftBytesMax }, signal),
      );
      // Most passes only look, and the next one comes later than the threads would wait for it.
      workers.rest();
      return problem;
    },
    commit: (request, signal) =>
      answering(signal, async () => resultOf(await lineOf(request.set).commit(request, signal))),
    commitIfChanged: (set, signal) =>
      answering(signal, async () => {
        const taken = await lineOf(set).commit({ set, reason: 'schedule' }, signal);
        return taken.isFormer && taken.lost === undefined ? undefined : resultOf(taken);
      }),
    estimate() {
      const all = [...lines.values()].map((line) => line.set);
      const left = all.map(({ tracker }) => tracker.bytes - tracker.bytesStored);
      return {
        bytesLeft: all.every(({ activity }) => activity.scans > 0) ? sum(left) : undefined,
        bytesPerSecond: meter.bytesPerSecond,
      };
    },
    progress: () => [...lines.values()].map((line) => line.progress()),
    activity: () => new Map([...lines].map(([name, line]) => [name, line.set.activity])),
    close: async () => {
      await Promise.all([...lines.values()].map((line) => line.close()));
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

function resultOf({ lost, isFormer: _isFormer, ...taken }: TimedCommit): CommitResult {
  return lost === undefined ? { kind: 'committed', ...taken } : { ...failed(lost), id: taken.id };
}

function failed({ code, message, remedy }: EvictdError): CommitResult & { kind: 'failed' } {
  const detail = remedy === undefined ? message : `${message}; ${remedy}`;
  return { kind: 'failed', code, detail, retryable: !HOPELESS.has(code) };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
