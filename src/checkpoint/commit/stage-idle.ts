import type { EvictdError } from '../../base/errors.ts';
import { forEachInSlices } from '../../base/slices.ts';
import { replaceRange, sameChunks } from '../index/chunk-range.ts';
import { isWhole } from '../index/record.ts';
import { sameStat } from '../scan/file-stat.ts';
import type { ScannedFile } from '../scan/scanned.ts';
import { compaction } from './compact.ts';
import { look } from './look/look.ts';
import type { Pace } from './pace.ts';
import { isUntouched, readFiles } from './send/read-files.ts';
import type { SetWork, Versions } from './set-work.ts';
import { isDoubtOver } from './look/trust.ts';
import type { FileRequest, Reading } from './send/file-parts.ts';
import type { Upload } from './send/upload.ts';

export interface IdleOptions {
  /** A file is left alone until it was not written to for so long. */
  readonly idleMs: number;
  /** Shared by all sets. */
  readonly pace: Pace;
  /** What isn't worth a pack of its own may stay on disk until a commit, up to so many bytes. */
  readonly leftBytesMax: number;
}

export interface IdleDependencies {
  /** Makes sure of the set first. `slowness`: so many times slower than the pace. */
  readonly openUpload: (slowness: number) => Promise<Upload & AsyncDisposable>;
  readonly wallOffsetMs: number;
  /** What pruning removes goes on costing: nothing is gained by sending it anew. */
  readonly keepsDeleted: () => boolean;
}

/** Of the pace, for what is only tidied up. */
const COMPACTION_SLOWNESS = 4;

/** Files whose times never show all writes are compared again after this. */
const COMPARE_AGAIN_MS = 300_000;

/**
 * Stages what is new in files that nobody writes to at the moment, in full packs: many short ones would save nothing
 * without a manifest. Ends early, with what was sent in use, once `giveWay` is aborted; before anything is sent it then
 * rejects with that signal's reason. A file that can't be read doesn't hold up the others; the first such problem is
 * answered.
 */
export async function stageIdle(
  work: SetWork,
  { idleMs, leftBytesMax }: IdleOptions,
  dependencies: IdleDependencies,
  giveWay: AbortSignal,
  signal: AbortSignal,
): Promise<EvictdError | undefined> {
  const versions: Versions = new Map();
  const found = await look(work, versions, giveWay);
  const due: ScannedFile[] = [];
  const note = (file: ScannedFile) => {
    if (isDue(work, file, idleMs, found.unstamped.has(file.stat.dev))) due.push(file);
  };
  await forEachInSlices(found.due, note, giveWay);
  let problem: EvictdError | undefined = [...found.scan.lost.values()][0];
  if (due.length === 0) {
    await compact(work, found.scan.files, dependencies, giveWay, signal);
    return problem;
  }
  const { openUpload, wallOffsetMs } = dependencies;
  await using upload = await openUpload(1);
  const onLost = (_path: string, error: EvictdError) => {
    if (error.code !== 'file-changing') problem ??= error;
  };
  await readFiles(work, upload, due, versions, { readsMax: 1, onLost, wallOffsetMs }, signal);
  await (upload.leftBytes() > leftBytesMax ? upload.flush(signal) : upload.drop(signal));
  return problem;
}

/** See compact.ts. Only in a pass that has nothing to stage. */
async function compact(
  work: SetWork,
  files: readonly ScannedFile[],
  { openUpload, keepsDeleted }: IdleDependencies,
  giveWay: AbortSignal,
  signal: AbortSignal,
): Promise<void> {
  const { index, ownership } = work;
  if (ownership.checkpoint === undefined || keepsDeleted()) return;
  const requests = await compaction(work, files, giveWay);
  if (requests.length === 0) return;
  await using upload = await openUpload(COMPACTION_SLOWNESS);
  const onReading = ({ path, from }: FileRequest, reading: Reading) => {
    const record = index.files.get(path);
    if (reading.kind !== 'read' || record === undefined || !isUntouched(reading)) return;
    if (!sameStat(record.stat, reading.before)) return;
    const chunks = replaceRange(record.chunks, from, reading.chunks);
    // It may be only because of its times that a file seems to be as it was.
    if (!sameChunks(record.chunks, chunks)) return;
    upload.onceStored(reading, () => index.set(path, { ...record, chunks }));
  };
  await upload.read(requests, onReading, signal);
  await upload.flush(signal);
}

function isDue(
  { clock, index, seen }: SetWork,
  { path, stat }: ScannedFile,
  idleMs: number,
  isUnstamped: boolean,
): boolean {
  const now = clock.monotonicMs();
  const record = index.files.get(path);
  if (record === undefined || !sameStat(record.stat, stat)) {
    const at = seen.get(path)?.at ?? now;
    // By the file's own time where that is longer ago: it was there before we were.
    const quietMs = Math.max(now - at, clock.wallMs() - Number(stat.ctimeNs / 1_000_000n));
    return quietMs >= idleMs;
  }
  if (!isWhole(record)) return true;
  return isUnstamped ? now - record.readAt >= COMPARE_AGAIN_MS : isDoubtOver(record, now);
}
