import { statfs } from 'node:fs/promises';

import type { Clock } from '../../base/clock.ts';
import { createGate } from '../../base/concurrency.ts';
import { EvictdError } from '../../base/errors.ts';
import { formatSize } from '../../base/units.ts';
import type { FileChunk } from '../format/chunk.ts';
import type { FileEntry } from '../format/entry.ts';
import { PACKS, setPrefix } from '../format/names.ts';
import { quotePath } from '../../base/files/path-name.ts';
import type { Wanted } from '../index/find-checkpoint.ts';
import type { FileStat } from '../scan/file-stat.ts';
import { statOf } from '../scan/file-stat.ts';
import type { BlobStore } from '../store/store.ts';
import { createAttributeSetter } from './target/attributes.ts';
import { chooseCheckpoint } from './choose-checkpoint.ts';
import type { Chosen } from './choose-checkpoint.ts';
import type { FilesContext, RestoreWorkers } from './context.ts';
import { openDisk } from './target/disk.ts';
import { markComplete, markerOf, markUnfinished } from './target/markers.ts';
import { openTarget } from './target/open-target.ts';
import { sweep } from './target/place-entries.ts';
import { placeAll } from './place-all.ts';
import { openSystemCalls } from './target/system-calls.ts';

export interface RestoreOptions extends Wanted {
  /** A folder; made where it is missing. */
  readonly target: string;
  /** Only what these patterns (as .gitignore reads them) name, and the folders above it; then nothing is marked. */
  readonly path?: readonly string[];
  /** Wait until all of it is on disk; without, a power cut soon after may leave files empty. Default: true. */
  readonly durable?: boolean;
  /** Present: the folder says by a file in it that it is half restored, and then that it is complete. */
  readonly mark?: { readonly machine: string };
}

export interface RestoreDependencies {
  readonly store: BlobStore;
  readonly workers: RestoreWorkers;
  readonly clock: Clock;
  readonly onProgress?: (progress: RestoreProgress) => void;
  /**
   * Something that is no error, by its code: `older-checkpoint`, `partial-checkpoint`, `files-lost`, `no-files`,
   * `set-id-dropped`.
   */
  readonly onNote?: (note: EvictdError) => void;
  /** What a file holds that was fetched, or was there, read and equal: the local index needn't read it. */
  readonly onRestored?: (path: string, file: RestoredFile) => void;
}

export interface RestoreProgress {
  readonly files: number;
  readonly filesTotal: number;
  /** Done, fetched or found on disk. */
  readonly bytes: number;
  readonly bytesTotal: number;
  readonly bytesFetched: number;
}

export interface RestoredFile {
  readonly stat: FileStat;
  readonly chunks: readonly FileChunk[];
  readonly how: 'fetched' | 'kept';
}

export interface RestoreResult {
  readonly id: string;
  readonly createdAt: string;
  readonly files: number;
  readonly bytes: number;
  readonly bytesFetched: number;
  /** Of `files`, those that were there and identical. */
  readonly filesKept: number;
  readonly durationMs: number;
}

const REQUESTS_MAX = 8;
const REQUEST_BYTES_MAX = 48 * 1024 ** 2;

/**
 * Brings a checkpoint back into a folder, verified chunk by chunk. Files that the checkpoint doesn't have are left alone.
 * Every file is whole or untouched. Stopped at any point, it goes on from there when it is called again.
 * Rejects `nothing-found`, `bad-manifest`, `manifest-version`, `bad-tree`, `corrupt-chunk`, `checkpoint-gone`, `no-match`,
 * `unsafe-target`, `restore-under-way`, `disk-full`, the error of a file, or what the store rejects with.
 */
export async function restoreSet(
  options: RestoreOptions,
  dependencies: RestoreDependencies,
  signal: AbortSignal,
): Promise<RestoreResult> {
  return withOpened(options, dependencies, signal, (opened) =>
    restoreOpened(opened, options, dependencies, signal),
  );
}

/** A checkpoint, and the folder it goes to, open and locked. */
export interface Opened {
  readonly chosen: Chosen;
  readonly context: FilesContext;
  readonly counts: Counts;
  readonly startedAt: number;
}

/** Rejects as `restoreSet` does. */
export async function withOpened<T>(
  options: RestoreOptions,
  dependencies: RestoreDependencies,
  signal: AbortSignal,
  work: (opened: Opened) => Promise<T>,
): Promise<T> {
  const { store, clock, workers, onNote = () => undefined } = dependencies;
  const startedAt = clock.monotonicMs();
  const { place, durable = true } = options;
  await using chosen = await chooseCheckpoint(options, { store, clock, onNote }, signal);
  const { manifest, selection } = chosen;
  using system = openSystemCalls();
  await using target = await openTarget({ folder: options.target, root: manifest.root }, { system });
  using disk = openDisk(target, durable, system);
  const counts = createCounts(selection, dependencies.onProgress);
  const context: FilesContext = {
    target,
    system,
    attributes: createAttributeSetter({ isRoot: process.geteuid?.() === 0 }, { system }),
    workers,
    packPrefix: setPrefix(place) + PACKS,
    hash: manifest.hash,
    gate: createGate({ placesMax: REQUESTS_MAX, weightMax: REQUEST_BYTES_MAX }),
    disk,
    hardLinksTo: (path) => selection.hardLinksTo(path),
    onBytes: (bytes, from) => counts.addBytes(bytes, from),
    onFile(entry, how, stats) {
      counts.addFile(entry, how);
      if (stats !== undefined && Number(stats.size) === entry.size && stats.mtimeNs === entry.mtimeNs)
        dependencies.onRestored?.(entry.path, { stat: statOf(stats), chunks: entry.chunks, how });
    },
  };
  return await work({ chosen, context, counts, startedAt });
}

/** Rejects as `restoreSet` does. */
export async function restoreOpened(
  { chosen, context, counts, startedAt }: Opened,
  options: RestoreOptions,
  { clock, onNote }: RestoreDependencies,
  signal: AbortSignal,
): Promise<RestoreResult> {
  const { manifest, selection } = chosen;
  const { target, attributes, disk } = context;
  const mark = selection.isAll ? options.mark : undefined;
  target.touch();
  try {
    sweep(target, '');
    if (mark !== undefined) markUnfinished(target, disk);
    await placeAll(context, selection, signal);
    disk.sync();
    if (mark !== undefined) markComplete(target, markerOf(manifest, mark, clock), disk);
  } catch (error) {
    throw await withSpaceLeft(error, target.location, options.target, counts.bytesLeft());
  }
  if (attributes.bitsDropped.length > 0) onNote?.(bitsDropped(attributes.bitsDropped));
  const { id, createdAt } = manifest;
  const durationMs = Math.round(clock.monotonicMs() - startedAt);
  return { id, createdAt, ...counts.result(), durationMs };
}

async function withSpaceLeft(
  error: unknown,
  location: string,
  shown: string,
  bytesLeft: number,
): Promise<unknown> {
  if (!(error instanceof EvictdError) || error.code !== 'disk-full') return error;
  const { bavail, bsize } = await statfs(location);
  return new EvictdError(
    'disk-full',
    `${error.message}: ${formatSize(bavail * bsize)} are free in ${shown}, up to ${formatSize(bytesLeft)} were still to come`,
    { remedy: 'make room or choose another folder; the next restore goes on from here', cause: error },
  );
}

function bitsDropped(paths: readonly string[]): EvictdError {
  const more = paths.length > 3 ? ' and others' : '';
  return new EvictdError(
    'set-id-dropped',
    `${paths.slice(0, 3).map(quotePath).join(', ')}${more} came back without set-user-ID and set-group-ID: whoever may ` +
      'write the container could make any program run as anybody by them',
    { remedy: 'set them by hand (chmod u+s) where they belong' },
  );
}

type Counts = ReturnType<typeof createCounts>;

function createCounts(
  totals: { readonly files: number; readonly bytes: number },
  onProgress: (progress: RestoreProgress) => void = () => undefined,
) {
  let files = 0;
  let filesKept = 0;
  let size = 0;
  let bytes = 0;
  let bytesFetched = 0;
  const tell = () =>
    onProgress({ files, filesTotal: totals.files, bytes, bytesTotal: totals.bytes, bytesFetched });
  return {
    bytesLeft: () => Math.max(0, totals.bytes - bytes),
    /** Of what was done, whatever the manifest says that there is. */
    result: () => ({ files, bytes: size, bytesFetched, filesKept }),
    addBytes(more: number, from: 'store' | 'disk') {
      bytes += more;
      if (from === 'store') bytesFetched += more;
      tell();
    },
    addFile(entry: FileEntry, how: 'fetched' | 'kept') {
      files++;
      size += entry.size;
      if (how === 'kept') filesKept++;
      tell();
    },
  };
}
