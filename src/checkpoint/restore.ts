import type { Clock } from '../base/clock.ts';
import { createGate, forEachLimit } from '../base/concurrency.ts';
import { EvictdError } from '../base/errors.ts';
import { setPrefix } from './blob-name.ts';
import { fileError } from './file-error.ts';
import { isCheckpointId, listCheckpointIds, readManifest } from './manifest.ts';
import { restoreFile } from './restore-file.ts';
import type { RestoreFileContext } from './restore-file.ts';
import { openRestoreTarget } from './restore-target.ts';
import type { RestoreTarget } from './restore-target.ts';
import type { Manifest } from './schema.ts';
import type { BlobStore } from './store.ts';
import { TRANSFER_LIMITS } from './transfer.ts';
import type { TransferLimits } from './transfer.ts';

export interface RestoreOptions {
  /** Below the container; may be empty. */
  readonly prefix: string;
  readonly key: string;
  readonly set: string;
  /** A checkpoint's id; the newest one without. */
  readonly at?: string;
  /** A folder; made where it is missing. */
  readonly target: string;
  readonly limits?: TransferLimits;
}

export interface RestoreDependencies {
  readonly store: BlobStore;
  readonly clock: Clock;
  readonly onProgress?: (progress: RestoreProgress) => void;
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
 * alone. Every file is whole or untouched; folders get their modes and times last.
 * Rejects `nothing-found`, `bad-manifest`, `corrupt-block`, `unsafe-target`, `disk-full`, or what the store rejects with.
 */
export async function restore(
  options: RestoreOptions,
  dependencies: RestoreDependencies,
  signal: AbortSignal,
): Promise<RestoreResult> {
  const { store, clock } = dependencies;
  const startedAt = clock.monotonicMs();
  const manifest = await findManifest(store, options, signal);
  const target = await openRestoreTarget(options.target);
  const counts = createCounts(manifest, dependencies.onProgress);
  const limits = options.limits ?? TRANSFER_LIMITS;
  const context: RestoreFileContext = {
    target,
    prefix: setPrefix(options),
    store,
    gate: createGate({ placesMax: limits.requestsMax, weightMax: limits.bytesMax }),
    onBytes: (more, from) => counts.addBytes(more, from),
  };
  await makeFolders(target, manifest);
  await forEachLimit(manifest.files, FILES_IN_FLIGHT, signal, async (file, inner) => {
    counts.addFile(await restoreFile(context, file, inner));
  });
  await forEachLimit(manifest.symlinks, 1, signal, (link) => target.makeSymlink(link));
  await finishFolders(target, manifest);
  const { files, bytesFetched, filesKept } = counts.current();
  return {
    id: manifest.id,
    createdAt: manifest.createdAt,
    files,
    bytes: counts.bytesTotal,
    bytesFetched,
    filesKept,
    durationMs: clock.monotonicMs() - startedAt,
  };
}

async function findManifest(
  store: BlobStore,
  options: RestoreOptions,
  signal: AbortSignal,
): Promise<Manifest> {
  const id = options.at ?? (await listCheckpointIds(store, options, signal)).at(-1);
  const place = `${store.describe}, ${setPrefix(options)}`;
  if (id === undefined) {
    throw new EvictdError('nothing-found', `there is no checkpoint in ${place}`, {
      remedy: 'check checkpoint.key and the set; evictd checkpoints lists what is there',
    });
  }
  const absent = new EvictdError(
    'nothing-found',
    `there is no checkpoint ${JSON.stringify(id)} in ${place}`,
    {
      remedy: 'evictd checkpoints lists what is there',
    },
  );
  if (!isCheckpointId(id)) throw absent;
  try {
    return await readManifest(store, options, id, signal);
  } catch (error) {
    if (error instanceof EvictdError && error.code === 'not-found') throw absent;
    throw error;
  }
}

/** Parents come before what is in them, since a manifest is checked to have them and `a` sorts before `a/b`. */
async function makeFolders(target: RestoreTarget, manifest: Manifest): Promise<void> {
  const folders = manifest.directories.toSorted((one, other) => (one.path < other.path ? -1 : 1));
  for (const folder of folders) await onPath(folder.path, () => target.makeFolder(folder));
}

/** The deepest first: a change inside a folder would change its time again. */
async function finishFolders(target: RestoreTarget, manifest: Manifest): Promise<void> {
  const folders = manifest.directories.toSorted((one, other) => (one.path < other.path ? 1 : -1));
  for (const folder of folders) await onPath(folder.path, () => target.finishFolder(folder));
}

async function onPath(path: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    throw error instanceof EvictdError ? error : fileError(error, path);
  }
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
