import { AssertionFailed } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import { createGroup, forEachLimit } from '../base/concurrency.ts';
import { EvictdError } from '../base/errors.ts';
import type { CheckpointReason } from '../core/ports.ts';
import { blobNameOf, setPrefix } from './blob-name.ts';
import { claimSet } from './claim.ts';
import { commitFile, putWhole } from './commit-file.ts';
import type { CommitContext, Writer } from './commit-file.ts';
import { fileChanging, filesChanging } from './file-error.ts';
import { indexFileName, openFileIndex } from './file-index.ts';
import type { FileIndex } from './file-index.ts';
import { nextCheckpointId } from './manifest.ts';
import { createTracker } from './progress.ts';
import type { SetTracker } from './progress.ts';
import type { Reader } from './reader.ts';
import type { Manifest, ManifestFile } from './schema.ts';
import { sameStat, scanSet } from './scan.ts';
import type { Scan, ScannedFile, SetOptions } from './scan.ts';
import { likelyStored, sendFile } from './send-file.ts';
import type { FileVersion, SendContext, SendMode } from './send-file.ts';
import type { BlobStore } from './store.ts';
import { forgetBlocks, loadStoredSet } from './stored-blobs.ts';
import type { StoredBlob, StoredSet } from './stored-blobs.ts';
import type { Transfer } from './transfer.ts';
import { unstampedDevices } from './unstamped-devices.ts';
import { foldersAndLinks, writeManifest } from './write-manifest.ts';

/** One set's line of checkpoints. The caller sees to it that only one call is under way at a time. */
export interface CheckpointSet {
  readonly tracker: SetTracker;
  readonly activity: SetActivity;
  /** Scans and sends what the store lacks, except files that change meanwhile; `stop` is asked at each block and ends it early. */
  stage(stop: () => boolean, signal: AbortSignal): Promise<void>;
  commit(reason: CheckpointReason, signal: AbortSignal): Promise<Committed>;
  /** Writes the file index, where one is kept. */
  saveIndex(): Promise<void>;
}

/** What was done since the start of the process. */
export interface SetActivity {
  filesRead: number;
  bytesRead: number;
  bytesSent: number;
  /** Sockets, pipes and devices that the last scan left out. */
  specials: number;
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

const FILES_IN_FLIGHT = 32;
/** How often a file that changes while it is read is read before that is an error. */
const READS_MAX = 3;
/** How often all files are looked at again, since some changed after they were sent. */
const ROUNDS_MAX = 4;

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
  let index: FileIndex | undefined;
  let stored: StoredSet | undefined;
  let bytesSentAtCommit = 0;

  const begin = async (signal: AbortSignal): Promise<Begun> => {
    const { indexDirectory } = options;
    const file = indexDirectory === undefined ? undefined : indexFileName(indexDirectory, set.name);
    const known = (index ??= await openFileIndex({ file, root: set.path }, note));
    const base = (stored ??= await loadStoredSet(store, place, signal, note));
    const send: SendContext = {
      root: set.path,
      prefix,
      ...dependencies,
      index: known,
      blobOf: (path) => base.blob(blobNameOf(path, prefix.length)),
      onStored: (path, bytes) => tracker.store(path, bytes),
      onFileRead: () => activity.filesRead++,
      onRead: (bytes) => (activity.bytesRead += bytes),
      onSent: (bytes) => (activity.bytesSent += bytes),
    };
    return { set, send, stored: base, tracker, activity };
  };

  return {
    tracker,
    activity,
    async stage(stop, signal) {
      const begun = await begin(signal);
      const versions: Versions = new Map();
      const scan = await look(begun, versions, signal);
      await sendChanged(begun, scan, versions, { stop, readsMax: 1, changing: 'leave' }, signal);
    },
    async commit(reason, signal) {
      const begun = await begin(signal);
      const base = begun.stored;
      const context = (): CommitContext => ({
        prefix,
        store,
        transfer,
        writer,
        id: nextCheckpointId(base.parent),
      });
      const { scan, versions, changing } = await settle(begun, context(), signal);
      if (changing.length > 0) note(filesChanging(set.path, changing));
      const entries = await commitFiles(begun, context(), scan, versions, signal);
      const totals = totalsOf(entries, activity.bytesSent - bytesSentAtCommit);
      const createdAt = new Date(clock.wallMs()).toISOString();
      const head = { key: options.key, set: set.name, createdAt, reason, writer, totals };
      const files = { filesChanging: changing.length, files: entries };
      const id = await writeManifest(context, base, { ...head, ...files, ...foldersAndLinks(scan) }, signal);
      begun.send.index.keepOnly(new Set(entries.map(({ path }) => path)));
      bytesSentAtCommit = activity.bytesSent;
      return { id, ...totals };
    },
    saveIndex: async () => index?.save(),
  };
}

function totalsOf(entries: readonly ManifestFile[], bytesSent: number): Manifest['totals'] {
  const bytes = entries.reduce((sum, { size }) => sum + size, 0);
  return { files: entries.length, bytes, bytesSent };
}

interface Begun {
  readonly set: SetOptions;
  readonly send: SendContext;
  readonly stored: StoredSet;
  readonly tracker: SetTracker;
  readonly activity: SetActivity;
}

/** By path: what was sent. */
type Versions = Map<string, FileVersion>;

/** Scans, and counts as stored what most likely is. */
async function look(begun: Begun, versions: Versions, signal: AbortSignal): Promise<Scan> {
  const scan = await scanSet(begun.set, signal);
  begun.send.index.distrust(await unstampedDevices(begun.set.path, scan.files));
  begun.tracker.scanned(scan.files.map(({ path, stat }) => ({ path, size: stat.size })));
  begun.activity.specials = scan.specials;
  for (const file of scan.files) {
    if (isCurrent(file, versions)) begun.tracker.store(file.path, file.stat.size);
    else if (likelyStored(begun.send, file)) begun.tracker.store(file.path, file.stat.size);
  }
  return scan;
}

/**
 * Sends all files, then looks at them again until none has changed since it was sent:
 * what gets committed is what was on disk at that last look.
 * A workload that doesn't hold still must not prevent the checkpoint: then each file is taken as it was at one moment,
 * not all of them at the same one, and the files that went on changing are answered as `changing`.
 */
async function settle(begun: Begun, context: CommitContext, signal: AbortSignal) {
  const versions: Versions = new Map();
  let scan: Scan | undefined;
  const group = createGroup(signal);
  // Whole small files become visible as they are sent, so the claim has to be there before the first of them.
  group.run((inner) => claimSet(context, begun.stored, inner));
  group.run(async (inner) => {
    scan = await look(begun, versions, inner);
  });
  await group.settled();
  const mode: SendMode = {
    stop: () => false,
    readsMax: READS_MAX,
    changing: 'fail',
    put: (blob, id, body, inner) => putWhole(context, blob, [id], body, inner),
  };
  for (let round = 0; round < ROUNDS_MAX && scan !== undefined; round++) {
    await sendChanged(begun, scan, versions, mode, signal);
    scan = await look(begun, versions, signal);
    if (scan.files.every((file) => isCurrent(file, versions))) return { scan, versions, changing: [] };
  }
  if (scan === undefined) throw new AssertionFailed('a set was settled without having been looked at');
  const added = scan.files.filter(({ path }) => !versions.has(path));
  await sendChanged(begun, { ...scan, files: added }, versions, mode, signal);
  // What has no version even now is gone again; its other names may still be there.
  const orphans = scan.hardLinks.filter(({ target }) => !versions.has(target));
  await sendChanged(begun, { ...scan, files: orphans }, versions, mode, signal);
  const files = [...scan.files, ...orphans].filter(({ path }) => versions.has(path));
  const hardLinks = scan.hardLinks.filter((link) => !orphans.includes(link));
  const changing = files.filter((file) => !isCurrent(file, versions)).map(({ path }) => path);
  return { scan: { ...scan, files, hardLinks }, versions, changing };
}

async function sendChanged(
  begun: Begun,
  scan: Scan,
  versions: Versions,
  mode: SendMode,
  signal: AbortSignal,
): Promise<void> {
  await forEachLimit(scan.files, FILES_IN_FLIGHT, signal, async (file, inner) => {
    if (mode.stop() || isCurrent(file, versions)) return;
    const version = await sendFile(begun.send, file, mode, inner);
    if (version !== undefined) versions.set(file.path, version);
  });
}

function isCurrent(file: ScannedFile, versions: Versions): boolean {
  const version = versions.get(file.path);
  return version !== undefined && sameStat(version.stat, file.stat);
}

/** In path order, whatever the order in which they get done. */
async function commitFiles(
  begun: Begun,
  context: CommitContext,
  scan: Scan,
  versions: Versions,
  signal: AbortSignal,
): Promise<ManifestFile[]> {
  const entries = new Map<string, ManifestFile>();
  await forEachLimit(scan.files, FILES_IN_FLIGHT, signal, async (file, inner) => {
    const version = versions.get(file.path);
    if (version === undefined) throw fileChanging(begun.set.path, file.path);
    const blob = begun.send.blobOf(file.path);
    entries.set(file.path, await commitOrRestage(begun, context, file, version, blob, inner));
  });
  return scan.files.flatMap(({ path }) => entries.get(path) ?? []);
}

/** Staged blocks expire after a week, and go with another commit of the blob: then they are sent once more. */
async function commitOrRestage(
  begun: Begun,
  context: CommitContext,
  file: ScannedFile,
  version: FileVersion,
  blob: StoredBlob,
  signal: AbortSignal,
): Promise<ManifestFile> {
  try {
    return await commitFile(context, file, version, blob, signal);
  } catch (error) {
    if (!(error instanceof EvictdError) || error.code !== 'missing-block') throw error;
    forgetBlocks(blob);
    const again = await sendFile(
      begun.send,
      file,
      { stop: () => false, readsMax: 1, changing: 'fail' },
      signal,
    );
    if (again === undefined || !sameStat(again.stat, file.stat))
      throw fileChanging(begun.set.path, file.path);
    return commitFile(context, file, again, blob, signal);
  }
}
