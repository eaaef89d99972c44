import type { EvictdError } from '../base/errors.ts';
import { forEachInSlices } from '../base/slices.ts';
import type { CheckpointReason } from '../core/ports.ts';
import type { Writer } from './own-write.ts';
import { commitFiles } from './commit-files.ts';
import { filesChanging, filesLost, folderEmptied } from './file-error.ts';
import { nextCheckpointId } from './manifest.ts';
import type { SetActivity, SetTracker } from './progress.ts';
import type { Manifest, ManifestFile } from './schema.ts';
import { scanDigest } from './scan-digest.ts';
import type { SetOptions } from './scan.ts';
import type { SetWork, Versions } from './set-work.ts';
import { look, sendFiles, settle } from './settle.ts';
import { stageIdle } from './stage-idle.ts';
import type { IdleOptions } from './stage-idle.ts';
import { nameOnly } from './stored-blobs.ts';
import type { NewestCheckpoint } from './stored-blobs.ts';
import { createWorkplace } from './workplace.ts';
import type { CheckpointSetDependencies, CheckpointSetOptions } from './workplace.ts';
import { foldersAndLinks, writeManifest } from './write-manifest.ts';

/** One set's line of checkpoints. The caller sees to it that only one call is under way at a time. */
export interface CheckpointSet {
  readonly tracker: SetTracker;
  readonly activity: SetActivity;
  /** Scans and sends what the store lacks, except files that change meanwhile; `stop` is asked at each block and ends it early. */
  stage(stop: () => boolean, signal: AbortSignal): Promise<void>;
  commit(reason: CheckpointReason, signal: AbortSignal): Promise<Committed>;
  /** Asks the store and looks at the files, so that a notice finds that done. */
  prepare(signal: AbortSignal): Promise<void>;
  /** See stage-idle.ts. */
  stageIdle(
    options: IdleOptions,
    giveWay: AbortSignal,
    signal: AbortSignal,
  ): Promise<EvictdError | undefined>;
  /** False when the files are beyond doubt as they were at the last scheduled commit of this process. */
  isChanged(signal: AbortSignal): Promise<boolean>;
  /** Of the store, as far as it was asked; whichever process or VM made it. */
  newest(): NewestCheckpoint | undefined;
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
  /** What the files hold now is not in it; says why. */
  readonly lost?: EvictdError;
}

export function createCheckpointSet(
  options: CheckpointSetOptions,
  dependencies: CheckpointSetDependencies,
): CheckpointSet {
  const { clock } = dependencies;
  const note = (error: EvictdError) => dependencies.onNote(options.set.name, error);
  const { tracker, activity, staged, begin, newest, reload, saveIndex } = createWorkplace(
    options,
    dependencies,
  );
  let bytesSentAtCommit = 0;
  let last: Made | undefined;

  return {
    tracker,
    activity,
    async stage(stop, signal) {
      expectWork(dependencies);
      await using begun = await begin({ thorough: false, sends: true }, signal);
      if (stop()) return;
      const versions: Versions = new Map();
      const { due } = await look(begun, versions, signal);
      await sendFiles(begun, due, versions, { mode: { stop, readsMax: 1, changing: 'leave' } }, signal);
    },
    async commit(reason, signal) {
      if (reason !== 'schedule') expectWork(dependencies);
      await using begun = await begin({ thorough: reason !== 'notice', sends: true }, signal);
      const making = { ...options, reason, bytesBefore: bytesSentAtCommit, last };
      last = await makeCheckpoint(begun, making, note, signal);
      bytesSentAtCommit = activity.bytesSent;
      return last.committed;
    },
    async prepare(signal) {
      await using begun = await begin({ thorough: true, sends: false }, signal);
      await look(begun, new Map(), signal);
    },
    async stageIdle(idle, giveWay, signal) {
      await using begun = await begin({ thorough: true, sends: true }, giveWay);
      return await stageIdle(begun, idle, { staged, clock }, giveWay, signal);
    },
    async isChanged(signal) {
      if (last?.digest === undefined) return true;
      await using begun = await begin({ thorough: true, sends: false }, signal);
      return await isChangedSince(last.digest, begun, signal);
    },
    newest,
    reload,
    saveIndex,
  };
}

/** What takes time to be ready is there by the time it is known what there is to do. */
function expectWork({ store, reader }: Pick<CheckpointSetDependencies, 'store' | 'reader'>): void {
  store.expectWrites?.();
  reader.start();
}

async function isChangedSince(digest: string, work: SetWork, signal: AbortSignal): Promise<boolean> {
  const { scan, due } = await look(work, new Map(), signal);
  return due.length > 0 || (await scanDigest(scan, signal)) !== digest;
}

interface Making {
  readonly key: string;
  readonly set: SetOptions;
  readonly writer: Writer;
  readonly reason: CheckpointReason;
  /** What this process had sent at the checkpoint before. */
  readonly bytesBefore: number;
  readonly last: Made | undefined;
}

interface Made {
  readonly committed: Committed;
  /** Of the files as they are in it; undefined where that isn't of one moment, or nobody asks. */
  readonly digest: string | undefined;
}

async function makeCheckpoint(
  work: SetWork,
  { key, set, writer, reason, bytesBefore, last }: Making,
  note: (error: EvictdError) => void,
  signal: AbortSignal,
): Promise<Made> {
  const { prefix, store, transfer, clock } = work.send;
  const context = () => ({ prefix, store, transfer, writer, id: nextCheckpointId(work.stored.parent) });
  const isUrgent = reason !== 'schedule';
  const { scan, versions, changing, lost } = await settle(work, context(), { isUrgent }, signal);
  if (changing.length > 0) note(filesChanging(set.path, changing));
  const isAskedFor = changing.length === 0 && (reason === 'schedule' || lost.size > 0);
  const digest = isAskedFor ? await scanDigest(scan, signal) : undefined;
  // Tried again and again for the sake of the lost files, it would push older checkpoints out of what is kept.
  if (lost.size > 0 && digest !== undefined && isNewest(last, digest, work)) return last;
  const before = work.stored.newest;
  const entries = await commitFiles(work, context(), scan, versions, signal);
  const totals = totalsOf(entries, work.activity.bytesSent - bytesBefore);
  const createdAt = new Date(clock.wallMs()).toISOString();
  const { hashKey } = work.send.index;
  const head = { key, set: set.name, hashKey, createdAt, reason, writer, totals };
  const content = {
    ...head,
    filesChanging: changing.length,
    ...(lost.size > 0 && { filesLost: [...lost.keys()] }),
    files: entries,
    ...foldersAndLinks(scan),
  };
  const id = await writeManifest(context, work.stored, content, signal);
  if (totals.files === 0 && before !== undefined && before.files > 0) note(folderEmptied(set.path, before));
  await keepOnly(work, entries);
  const why = lost.size > 0 && { lost: filesLost(id, [...lost.values()]) };
  return { committed: { id, ...totals, ...why }, digest };
}

function isNewest(last: Made | undefined, digest: string, { stored }: SetWork): last is Made {
  return last?.digest === digest && last.committed.id === stored.parent;
}

/** The checkpoint is there, whatever the caller's signal says now. */
async function keepOnly({ stored, send }: SetWork, entries: readonly ManifestFile[]): Promise<void> {
  // Each entry has a blob of its own: where there are no more than that, none is left over.
  if (stored.size === entries.length && send.index.size <= entries.length) return;
  const blobs = new Set<string>();
  const paths = new Set<string>();
  await forEachInSlices(entries, ({ blob, path }) => {
    blobs.add(blob);
    paths.add(path);
  });
  await nameOnly(stored, blobs);
  await send.index.keepOnly(paths);
}

function totalsOf(entries: readonly ManifestFile[], bytesSent: number): Manifest['totals'] {
  const bytes = entries.reduce((sum, { size }) => sum + size, 0);
  return { files: entries.length, bytes, bytesSent };
}
