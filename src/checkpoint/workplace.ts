import type { Clock } from '../base/clock.ts';
import type { EvictdError } from '../base/errors.ts';
import { createBase } from './base.ts';
import { blobNameOf, FILES, setPrefix } from './blob-name.ts';
import type { Writer } from './own-write.ts';
import { leaveHashKey } from './hash-key.ts';
import { indexFileName, openFileIndex } from './file-index.ts';
import type { FileIndex } from './file-index.ts';
import { createTracker } from './progress.ts';
import type { SetActivity, SetTracker } from './progress.ts';
import type { Reader } from './reader.ts';
import type { SetOptions } from './scan.ts';
import type { SendContext } from './send-file.ts';
import { isNothingToSave, openSetFolder } from './set-folder.ts';
import type { SetFolder } from './set-folder.ts';
import type { SetWork } from './set-work.ts';
import type { NewestCheckpoint, StoredBlob, StoredSet } from './stored-blobs.ts';
import { watchStagedBlocks } from './staged-blocks.ts';
import type { StagedBlocks } from './staged-blocks.ts';
import type { BlobStore } from './store.ts';
import type { Transfer } from './transfer.ts';
import { createZstdStore } from './zstd-store.ts';

export interface CheckpointSetOptions {
  readonly prefix: string;
  readonly key: string;
  readonly set: SetOptions;
  readonly writer: Writer;
  readonly indexDirectory: string | undefined;
}

export interface CheckpointSetDependencies {
  readonly store: BlobStore;
  readonly transfer: Transfer;
  readonly reader: Reader;
  readonly clock: Clock;
  /** Something that costs time but loses nothing: an index or a manifest that can't be used. */
  readonly onNote: (set: string, error: EvictdError) => void;
}

/** What a work on a set is for. */
interface Need {
  /** As in base.ts. */
  readonly thorough: boolean;
  /** It sends what the store lacks, and doesn't only look. */
  readonly sends: boolean;
}

/** What stays between two works on a set: what was counted, what the store has, what the files held. */
export interface Workplace {
  readonly tracker: SetTracker;
  readonly activity: SetActivity;
  readonly staged: StagedBlocks;
  /** Rejects `conflict`, what openSetFolder rejects with, or what the
   * store rejects with. */
  begin(this: void, need: Need, signal: AbortSignal): Promise<SetWork>;
  /** What the store had when it was last asked, or has been given since. */
  newest(this: void): NewestCheckpoint | undefined;
  /** What the store has is asked for anew at the next work. */
  reload(this: void): void;
  /** Writes the file index, where one is kept. */
  saveIndex(this: void): Promise<void>;
}

/** Of what the store had when it was last asked. */
interface BlobsByPath {
  readonly stored: StoredSet | undefined;
  readonly blobs: Map<string, StoredBlob>;
}

export function createWorkplace(
  options: CheckpointSetOptions,
  dependencies: CheckpointSetDependencies,
): Workplace {
  const { set, writer, indexDirectory } = options;
  const { clock } = dependencies;
  const place = { prefix: options.prefix, key: options.key, set: set.name };
  const prefix = setPrefix(place);
  const tracker = createTracker();
  const activity: SetActivity = { filesRead: 0, bytesRead: 0, bytesSent: 0, scans: 0, specials: 0 };
  const onSaved = (bytes: number) => (activity.bytesSent -= bytes);
  const staged = watchStagedBlocks(
    set.compress === 'zstd'
      ? createZstdStore({ prefix: prefix + FILES }, { ...dependencies, onSaved })
      : dependencies.store,
    { clock },
  );
  const { store } = staged;
  const note = (error: EvictdError) => dependencies.onNote(set.name, error);
  const base = createBase({ place, writer }, { store, clock, onUnusable: note });
  let index: FileIndex | undefined;
  let byPath: BlobsByPath = { stored: undefined, blobs: new Map() };
  // Making a blob's name takes longer than anything else that is done for a file which nobody has touched.
  const blobOf = (stored: StoredSet, path: string): StoredBlob => {
    const known = byPath.blobs.get(path);
    if (known !== undefined) return known;
    const blob = stored.blob(blobNameOf(path, prefix.length));
    byPath.blobs.set(path, blob);
    return blob;
  };
  const begin = async ({ thorough, sends }: Need, signal: AbortSignal): Promise<SetWork> => {
    const file = indexDirectory === undefined ? undefined : indexFileName(indexDirectory, set.name);
    const known = (index ??= await openFileIndex({ file, root: set.path, bootId: writer.bootId }, note));
    const stored = await base.load(thorough, signal);
    if (sends) stored.hashKey ??= await leaveHashKey(store, prefix, known.hashKey, signal);
    known.useKey(stored.hashKey ?? known.hashKey);
    const isOutgrown = byPath.blobs.size > 2 * tracker.files + 1000;
    if (byPath.stored !== stored || isOutgrown) byPath = { stored, blobs: new Map() };
    const folder = await openCounted(set, tracker, activity);
    const send: SendContext = {
      root: set.path,
      location: folder.location,
      prefix,
      ...dependencies,
      store,
      index: known,
      blobOf: (path) => blobOf(stored, path),
      onStored: (path, bytes) => tracker.store(path, bytes),
      onFileRead: () => activity.filesRead++,
      onRead: (bytes) => (activity.bytesRead += bytes),
      onSent: (bytes) => (activity.bytesSent += bytes),
    };
    const close = () => folder[Symbol.asyncDispose]();
    return { set, folder, send, stored, tracker, activity, [Symbol.asyncDispose]: close };
  };
  return {
    tracker,
    activity,
    staged,
    begin,
    newest: () => byPath.stored?.newest,
    reload: () => base.outdate(),
    saveIndex: async () => index?.save(),
  };
}

/** Where there is nothing to save, nothing is counted. */
async function openCounted(set: SetOptions, tracker: SetTracker, activity: SetActivity): Promise<SetFolder> {
  try {
    return await openSetFolder(set);
  } catch (error) {
    if (isNothingToSave(error)) {
      tracker.count().done();
      activity.scans++;
    }
    throw error;
  }
}
