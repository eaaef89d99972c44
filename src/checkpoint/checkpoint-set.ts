import type { Clock } from '../base/clock.ts';
import type { EvictdError } from '../base/errors.ts';
import type { CheckpointReason } from '../core/ports.ts';
import { createBase } from './base.ts';
import { blobNameOf, setPrefix } from './blob-name.ts';
import type { Writer } from './commit-file.ts';
import { commitFiles } from './commit-files.ts';
import { filesChanging } from './file-error.ts';
import { indexFileName, openFileIndex } from './file-index.ts';
import type { FileIndex } from './file-index.ts';
import { nextCheckpointId } from './manifest.ts';
import { createTracker } from './progress.ts';
import type { SetActivity, SetTracker } from './progress.ts';
import type { Reader } from './reader.ts';
import type { Manifest, ManifestFile } from './schema.ts';
import type { SetOptions } from './scan.ts';
import type { SendContext } from './send-file.ts';
import { look, sendChanged, settle } from './settle.ts';
import type { SetWork, Versions } from './settle.ts';
import type { BlobStore } from './store.ts';
import { nameOnly } from './stored-blobs.ts';
import type { Transfer } from './transfer.ts';
import { foldersAndLinks, writeManifest } from './write-manifest.ts';

/** One set's line of checkpoints. The caller sees to it that only one call is under way at a time. */
export interface CheckpointSet {
  readonly tracker: SetTracker;
  readonly activity: SetActivity;
  /** Scans and sends what the store lacks, except files that change meanwhile; `stop` is asked at each block and ends it early. */
  stage(stop: () => boolean, signal: AbortSignal): Promise<void>;
  commit(reason: CheckpointReason, signal: AbortSignal): Promise<Committed>;
  /** What the store has is asked for anew at the next call. */
  reload(): void;
  /** Writes the file index, where one is kept. */
  saveIndex(): Promise<void>;
}

export interface Committed {
  readonly id: string;
  readonly files: number;
  readonly bytes: number;
  readonly bytesSent: number;
}

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

export function createCheckpointSet(
  options: CheckpointSetOptions,
  dependencies: CheckpointSetDependencies,
): CheckpointSet {
  const { set, writer } = options;
  const { store, clock, transfer } = dependencies;
  const place = { prefix: options.prefix, key: options.key, set: set.name };
  const prefix = setPrefix(place);
  const tracker = createTracker();
  const activity: SetActivity = { filesRead: 0, bytesRead: 0, bytesSent: 0, specials: 0 };
  const note = (error: EvictdError) => dependencies.onNote(set.name, error);
  const base = createBase({ place, writer }, { store, clock, onUnusable: note });
  let index: FileIndex | undefined;
  let bytesSentAtCommit = 0;

  const begin = async (thorough: boolean, signal: AbortSignal): Promise<SetWork> => {
    const { indexDirectory } = options;
    const file = indexDirectory === undefined ? undefined : indexFileName(indexDirectory, set.name);
    const known = (index ??= await openFileIndex({ file, root: set.path }, note));
    const stored = await base.load(thorough, signal);
    const send: SendContext = {
      root: set.path,
      prefix,
      ...dependencies,
      index: known,
      blobOf: (path) => stored.blob(blobNameOf(path, prefix.length)),
      onStored: (path, bytes) => tracker.store(path, bytes),
      onFileRead: () => activity.filesRead++,
      onRead: (bytes) => (activity.bytesRead += bytes),
      onSent: (bytes) => (activity.bytesSent += bytes),
    };
    return { set, send, stored, tracker, activity };
  };

  return {
    tracker,
    activity,
    async stage(stop, signal) {
      const begun = await begin(false, signal);
      if (stop()) return;
      const versions: Versions = new Map();
      const scan = await look(begun, versions, signal);
      await sendChanged(begun, scan, versions, { stop, readsMax: 1, changing: 'leave' }, signal);
    },
    async commit(reason, signal) {
      const begun = await begin(reason !== 'notice', signal);
      const context = () => ({ prefix, store, transfer, writer, id: nextCheckpointId(begun.stored.parent) });
      const { scan, versions, changing } = await settle(begun, context(), signal);
      if (changing.length > 0) note(filesChanging(set.path, changing));
      const entries = await commitFiles(begun, context(), scan, versions, signal);
      const totals = totalsOf(entries, activity.bytesSent - bytesSentAtCommit);
      const createdAt = new Date(clock.wallMs()).toISOString();
      const head = { key: options.key, set: set.name, createdAt, reason, writer, totals };
      const content = { ...head, filesChanging: changing.length, files: entries, ...foldersAndLinks(scan) };
      const id = await writeManifest(context, begun.stored, content, signal);
      nameOnly(begun.stored, new Set(entries.map(({ blob }) => blob)));
      begun.send.index.keepOnly(new Set(entries.map(({ path }) => path)));
      bytesSentAtCommit = activity.bytesSent;
      return { id, ...totals };
    },
    reload: () => base.outdate(),
    saveIndex: async () => index?.save(),
  };
}

function totalsOf(entries: readonly ManifestFile[], bytesSent: number): Manifest['totals'] {
  const bytes = entries.reduce((sum, { size }) => sum + size, 0);
  return { files: entries.length, bytes, bytesSent };
}
