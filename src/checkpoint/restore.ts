import { statfs } from 'node:fs/promises';

import type { Clock } from '../base/clock.ts';
import { createGate, forEachLimit } from '../base/concurrency.ts';
import { EvictdError, messageOf } from '../base/errors.ts';
import { formatSize } from '../base/units.ts';
import { setPrefix } from './blob-name.ts';
import type { SetPlace } from './blob-name.ts';
import { filesOlder } from './file-error.ts';
import { openFileIndex } from './file-index.ts';
import type { FileIndex } from './file-index.ts';
import { indexUnwritten } from './index-saver.ts';
import { isCheckpointId, listCheckpointIds, readManifest } from './manifest.ts';
import { restoreFile } from './restore-file.ts';
import type { RestoreFileContext } from './restore-file.ts';
import { createReader } from './reader.ts';
import type { Reader } from './reader.ts';
import { markComplete, markUnfinished } from './restore-marker.ts';
import { openRestoreTarget } from './restore-target.ts';
import type { RestoreTarget } from './restore-target.ts';
import type { Manifest, RestoreMarker } from './schema.ts';
import type { BlobStore } from './store.ts';
import { TRANSFER_LIMITS } from './transfer.ts';
import type { TransferLimits } from './transfer.ts';
import { createZeroIds } from './zero-block.ts';

export interface RestoreOptions extends SetPlace {
  /** A checkpoint's id; the newest one without. */
  readonly at?: string;
  /** A folder; made where it is missing. */
  readonly target: string;
  /** Wait until all of it is on disk; without, a power cut soon after may leave files empty. Default: true. */
  readonly durable?: boolean;
  /** Present: the folder says by a file in it that it is half restored, and then that it is complete. */
  readonly mark?: { readonly machine: string };
  readonly limits?: TransferLimits;
  /**
   * The file index of the set, when the target is its own folder: it makes finding out what is there quicker, and the
   * daemon then needn't read what was restored in this boot.
   */
  readonly index?: { readonly file: string; readonly bootId: string };
}

export interface RestoreDependencies {
  readonly store: BlobStore;
  readonly clock: Clock;
  readonly onProgress?: (progress: RestoreProgress) => void;
  /** Reading threads that are somebody else's to close; without them it has its own. */
  readonly reader?: Reader;
  /**
   * Something that is no error: an index that can't be used, which costs nothing but time, files that the checkpoint has
   * in an earlier version, or a checkpoint without files.
   */
  readonly onNote?: (error: EvictdError) => void;
}

export interface RestoreProgress {
  readonly files: number;
  readonly filesTotal: number;
  /** Done, fetched or found on disk. */
  readonly bytes: number;
  readonly bytesTotal: number;
  readonly bytesFetched: number;
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

const FILES_IN_FLIGHT = 32;

/**
 * Brings a checkpoint back into a folder, verified block by block. Files that the checkpoint doesn't have are left
 * alone. Every file is whole or untouched; folders get their modes and times last. Stopped at any point, it goes on
 * from there when it is called again.
 * Rejects `nothing-found`, `bad-manifest`, `corrupt-block`, `checkpoint-gone`, `unsafe-target`, `disk-full`, or what
 * the store rejects with.
 */
export async function restore(
  options: RestoreOptions,
  dependencies: RestoreDependencies,
  signal: AbortSignal,
): Promise<RestoreResult> {
  const manifest = await findManifest(dependencies.store, options, signal);
  return restoreManifest(manifest, options, dependencies, signal);
}

/** Rejects `nothing-found`, `bad-manifest`, `manifest-version`, or what the store rejects with. */
export async function findManifest(
  store: BlobStore,
  options: SetPlace & { readonly at?: string },
  signal: AbortSignal,
): Promise<Manifest> {
  const id = options.at ?? (await listCheckpointIds(store, options, signal)).at(-1);
  const what = id === undefined ? 'no checkpoint' : `no checkpoint ${JSON.stringify(id)}`;
  const absent = new EvictdError(
    'nothing-found',
    `there is ${what} in ${store.describe}, ${setPrefix(options)}`,
    {
      remedy: `${id === undefined ? '--key names another VM; ' : ''}\`evictd checkpoints\` lists what is there`,
    },
  );
  if (id === undefined || !isCheckpointId(id)) throw absent;
  try {
    return await readManifest(store, options, id, signal);
  } catch (error) {
    if (error instanceof EvictdError && error.code === 'not-found') throw absent;
    throw error;
  }
}

/** `restore` of a manifest that was read before. */
export async function restoreManifest(
  manifest: Manifest,
  options: RestoreOptions,
  dependencies: RestoreDependencies,
  signal: AbortSignal,
): Promise<RestoreResult> {
  const { clock, store } = dependencies;
  const startedAt = clock.monotonicMs();
  if (manifest.files.length === 0) dependencies.onNote?.(noFiles(manifest));
  const { durable = true, limits = TRANSFER_LIMITS } = options;
  await using target = await openRestoreTarget({ folder: options.target, durable, ifNew: manifest.root });
  const { id, filesLost = [] } = manifest;
  if (filesLost.length > 0) dependencies.onNote?.(filesOlder(id, filesLost));
  using reader = threads(dependencies);
  const counts = createCounts(manifest, dependencies.onProgress);
  const hardLinks = Map.groupBy(manifest.hardLinks, (link) => link.target);
  const { hashKey } = manifest;
  const index = await openIndex(options, dependencies);
  index?.useKey(hashKey);
  const context: RestoreFileContext = {
    target,
    prefix: setPrefix(options),
    store,
    gate: createGate({ placesMax: limits.requestsMax, weightMax: limits.bytesMax }),
    hashKey,
    zeroIds: createZeroIds(hashKey),
    reader,
    onBytes: (more, from) => counts.addBytes(more, from),
    index,
    hardLinksTo: (path) => hardLinks.get(path)?.length ?? 0,
  };
  try {
    if (options.mark !== undefined) await markUnfinished(target);
    await makeFolders(target, manifest, signal);
    await forEachLimit(manifest.files, FILES_IN_FLIGHT, signal, async (file, inner) => {
      counts.addFile(await restoreFile(context, file, inner));
    });
    await forEachLimit(manifest.hardLinks, FILES_IN_FLIGHT, signal, (link) => target.makeHardLink(link));
    await forEachLimit(manifest.symlinks, FILES_IN_FLIGHT, signal, (link) => target.makeSymlink(link));
    await finishFolders(target, manifest, signal);
    if (durable) await target.sync();
    await saveIndex(index, options.set, dependencies);
    if (options.mark !== undefined) await markComplete(target, markerOf(manifest, options.mark, clock));
  } catch (error) {
    throw await withSpaceLeft(error, target.root, counts.bytesLeft());
  }
  const { files, bytesFetched, filesKept } = counts.current();
  return {
    id: manifest.id,
    createdAt: manifest.createdAt,
    files,
    bytes: counts.bytesTotal,
    bytesFetched,
    filesKept,
    durationMs: Math.round(clock.monotonicMs() - startedAt),
  };
}

function noFiles({ set, id }: Manifest): EvictdError {
  const text = `checkpoint ${id} of ${set} has no files; \`evictd checkpoints\` lists older ones, --at takes one`;
  return new EvictdError('no-files', text);
}

async function openIndex(
  { index, target }: RestoreOptions,
  { onNote = () => undefined }: RestoreDependencies,
): Promise<FileIndex | undefined> {
  return index === undefined ? undefined : openFileIndex({ ...index, root: target }, onNote);
}

async function saveIndex(
  index: FileIndex | undefined,
  set: string,
  { onNote }: RestoreDependencies,
): Promise<void> {
  try {
    await index?.save();
  } catch (error) {
    onNote?.(indexUnwritten(set, messageOf(error), error));
  }
}

/** A folder comes after the one that holds it, which is shorter. */
async function makeFolders(target: RestoreTarget, manifest: Manifest, signal: AbortSignal): Promise<void> {
  await target.sweep();
  for (const folders of byDepth(manifest)) {
    await forEachLimit(folders, FILES_IN_FLIGHT, signal, (folder) => target.makeFolder(folder));
  }
}

/** The deepest first: a change inside a folder would change its time again. */
async function finishFolders(target: RestoreTarget, manifest: Manifest, signal: AbortSignal): Promise<void> {
  await target.forgetFolders();
  for (const folders of byDepth(manifest).toReversed()) {
    await forEachLimit(folders, FILES_IN_FLIGHT, signal, (folder) => target.finishFolder(folder));
  }
}

/** Folders that hold none of each other, in lists from the top down. */
function byDepth({ directories }: Manifest): Manifest['directories'][] {
  const depths = Map.groupBy(directories, ({ path }) => path.split('/').length);
  return [...depths].toSorted(([one], [other]) => one - other).map(([, folders]) => folders);
}

function threads({ clock, reader: shared }: RestoreDependencies): Reader & Disposable {
  if (shared !== undefined) return { ...shared, [Symbol.dispose]: () => undefined };
  const reader = createReader({ clock });
  return { ...reader, [Symbol.dispose]: () => reader.close() };
}

function markerOf(
  { id, key, set, createdAt }: Manifest,
  { machine }: { readonly machine: string },
  clock: Clock,
): RestoreMarker {
  return { version: 1, set, key, id, createdAt, restoredAt: new Date(clock.wallMs()).toISOString(), machine };
}

async function withSpaceLeft(error: unknown, root: string, bytesLeft: number): Promise<unknown> {
  if (!(error instanceof EvictdError) || error.code !== 'disk-full') return error;
  const { bavail, bsize } = await statfs(root);
  return new EvictdError(
    'disk-full',
    `${error.message}: ${formatSize(bavail * bsize)} are free in ${root}, up to ${formatSize(bytesLeft)} were still to come`,
    { remedy: 'make room or choose another folder; the next restore goes on from here', cause: error },
  );
}

function createCounts(manifest: Manifest, onProgress: (progress: RestoreProgress) => void = () => undefined) {
  const filesTotal = manifest.files.length;
  const bytesTotal = manifest.files.reduce((sum, { size }) => sum + size, 0);
  let files = 0;
  let filesKept = 0;
  let bytes = 0;
  let bytesFetched = 0;
  const tell = () => onProgress({ files, filesTotal, bytes, bytesTotal, bytesFetched });
  return {
    bytesTotal,
    bytesLeft: () => bytesTotal - bytes,
    current: () => ({ files, filesKept, bytesFetched }),
    addBytes(more: number, from: 'store' | 'disk') {
      bytes += more;
      if (from === 'store') bytesFetched += more;
      tell();
    },
    addFile(outcome: 'fetched' | 'kept') {
      files++;
      if (outcome === 'kept') filesKept++;
      tell();
    },
  };
}
