import { sleep } from '../../../base/abort.ts';
import type { MonotonicMs } from '../../../base/clock.ts';
import type { EvictdError } from '../../../base/errors.ts';
import { bytesOf, sameChunks } from '../../index/chunk-range.ts';
import { isWhole } from '../../index/record.ts';
import { type FileStat, sameStat } from '../../scan/file-stat.ts';
import { entryError } from '../../scan/file-error.ts';
import type { ScannedFile } from '../../scan/scanned.ts';
import { matcher } from '../../scan/set-patterns.ts';
import { fileChanging } from '../commit-error.ts';
import { movedFiles } from './moved-files.ts';
import { type Known, type ToRead, beginsAlike, requestOf, withPrefix } from './read-request.ts';
import type { FileVersion, SetWork, Versions } from '../set-work.ts';
import { quietMs, quietMsFor } from '../look/trust.ts';
import type { FileRequest, Reading } from './file-parts.ts';
import type { Upload } from './upload.ts';

export interface ReadOptions {
  /** How often a file that changes while it is read is read. */
  readonly readsMax: number;
  /** What then, and of what can't be read: left for later, or told. */
  readonly onLost: ((path: string, error: EvictdError) => void) | undefined;
  /** Between the guest's two clocks when this process began. */
  readonly wallOffsetMs: number;
}

/** What the next reading of a file has to agree with. */
interface Pending extends ToRead {
  readonly reads: number;
  /** Nothing was written to it during that one, as far as its times tell; only that it began too soon after a stamp. */
  readonly isOnlyDoubtful: boolean;
  /** Monotonic: not to be read before. */
  readonly notBefore: MonotonicMs;
}

type Asked = Pending & FileRequest;

/**
 * Reads files until each is had in one version: nothing was written to it while it was read, as far as its times tell, and
 * nobody can have been inside of a write then. Of one that only grows, what it was at first is a version, once it was
 * read twice alike. Adds them to `versions`; files that are gone have none.
 * Rejects with what the upload rejects with.
 */
export async function readFiles(
  work: SetWork,
  upload: Upload,
  files: readonly ScannedFile[],
  versions: Versions,
  options: ReadOptions,
  signal: AbortSignal,
): Promise<void> {
  const isLog = matcher(work.set.appendOnly ?? []);
  let later: Pending[] = [];
  const onReading = (one: Asked, reading: Reading) => {
    work.activity.filesRead++;
    const next = judge(work, upload, one, reading, versions, options);
    if (next !== undefined) later.push(next);
  };
  const moved = await movedFiles(work, files, signal);
  const read = (some: Iterable<Pending>) =>
    upload.read(askedOf(work, some, { isLog, moved }), onReading, signal);
  await read(pendingOf(ordered(work, files)));
  while (later.length > 0) {
    const first = later.reduce((least, { notBefore }) => Math.min(least, notBefore), Infinity);
    const waitMs = first - work.clock.monotonicMs();
    if (waitMs > 0) await sleep(work.clock, waitMs, signal);
    const now = work.clock.monotonicMs();
    const due = later.filter(({ notBefore }) => notBefore <= now);
    later = later.filter(({ notBefore }) => notBefore > now);
    await read(due);
  }
}

function* pendingOf(files: Iterable<ScannedFile>): Iterable<Pending> {
  for (const file of files)
    yield { file, earlier: undefined, isNoLog: false, reads: 0, isOnlyDoubtful: false, notBefore: -Infinity };
}

/** One by one: many of them don't take memory all at once. */
function* askedOf(work: SetWork, all: Iterable<Pending>, known: Known): Iterable<Asked> {
  for (const one of all) yield { ...one, ...requestOf(work, one, known) };
}

/** Small files before large ones, and what the config wants first before all others. */
function ordered({ set }: SetWork, files: readonly ScannedFile[]): readonly ScannedFile[] {
  const isFirst = matcher(set.first ?? []);
  const rank = ({ path, stat }: ScannedFile) => (isFirst(path) ? 0 : stat.size < LARGE_BYTES ? 1 : 2);
  const ranks: ScannedFile[][] = [[], [], []];
  for (const file of files) ranks[rank(file)]?.push(file);
  return ranks.flat();
}

const LARGE_BYTES = 4 * 1024 ** 2;

/** Undefined: it has a version, or is given up. */
function judge(
  work: SetWork,
  upload: Upload,
  one: Asked,
  reading: Reading,
  versions: Versions,
  options: ReadOptions,
): Pending | undefined {
  const { path } = one.file;
  const { clock, index, tracker } = work;
  if (reading.kind === 'gone') return undefined;
  if (reading.kind === 'failed') {
    options.onLost?.(path, entryError(reading, path));
    return undefined;
  }
  if (one.from > 0 && !beginsAlike(one, reading.chunks)) return { ...one, isNoLog: true };
  const { before, beganAt } = reading;
  const { earlier } = one;
  const chunks = withPrefix(one, reading.chunks);
  const isPrefix = earlier !== undefined && before.size > earlier.stat.size;
  if (isPrefix && bytesOf(chunks) === earlier.stat.size && sameChunks(earlier.chunks, chunks)) {
    // It was so at every moment between the two readings.
    upload.onceStored(reading, () => {
      index.set(path, { ...earlier, seenAt: Infinity, readAt: beganAt, isVersion: true });
      tracker.store(path, earlier.stat.size);
    });
    versions.set(path, { stat: earlier.stat, chunks });
    return undefined;
  }
  if (earlier !== undefined && one.isOnlyDoubtful && before.ino !== earlier.stat.ino) {
    // Another file has its place by now: whoever replaces one has written all of it before.
    versions.set(path, earlier);
    return undefined;
  }
  const seenAt = firstSeen(work, path, before, beganAt);
  // One value for both: of a hundred thousand files that is much memory.
  const stat = sameStat(before, one.file.stat) ? one.file.stat : before;
  const version = { stat, chunks, seenAt, readAt: beganAt, isVersion: true };
  const isWholly = isUntouched(reading) && bytesOf(chunks) === before.size;
  const wall = { clock, offsetMs: options.wallOffsetMs };
  const missingMs = quietMsFor(before.size) - quietMs(before, seenAt, beganAt, wall);
  if (!isWholly || missingMs > 0) {
    upload.onceStored(reading, () => {
      index.setPart(path, before, 0, chunks);
      tracker.store(path, reading.bytesNew);
    });
    const notBefore = isWholly ? beganAt + missingMs : -Infinity;
    return again(work, { ...one, earlier: version, isOnlyDoubtful: isWholly, notBefore }, options);
  }
  upload.onceStored(reading, () => {
    index.set(path, version);
    tracker.store(path, before.size);
  });
  versions.set(path, version);
  return undefined;
}

/** Nothing was written to the file while it was read, as far as its times tell. */
export function isUntouched({ before, after, isUnlinked }: Reading & { kind: 'read' }): boolean {
  return sameStat(isUnlinked ? { ...after, ctimeNs: before.ctimeNs } : after, before);
}

/** When the stat of a file was seen first; what was seen only now is kept for later readings. */
export function firstSeen(
  { seen, index }: SetWork,
  path: string,
  stat: FileStat,
  now: MonotonicMs,
): MonotonicMs {
  const record = index.files.get(path);
  if (record !== undefined && sameStat(record.stat, stat)) return record.seenAt;
  const known = seen.get(path);
  if (known !== undefined && sameStat(known.stat, stat)) return known.at;
  seen.set(path, { stat, at: now });
  return now;
}

function again({ set }: SetWork, one: Pending, { readsMax, onLost }: ReadOptions): Pending | undefined {
  if (one.reads + 1 < readsMax) return { ...one, reads: one.reads + 1 };
  onLost?.(one.file.path, fileChanging(set.path, one.file.path));
  return undefined;
}

/** The last version that could be read, where the store has all of it. */
export function lastVersion({ index }: SetWork, path: string): FileVersion | undefined {
  const record = index.files.get(path);
  return record !== undefined && record.isVersion && isWhole(record) ? record : undefined;
}
