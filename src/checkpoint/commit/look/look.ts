import { EvictdError } from '../../../base/errors.ts';
import { forEachInSlices } from '../../../base/slices.ts';
import { quotePath, splitPath } from '../../../base/files/path-name.ts';
import { isWhole } from '../../index/record.ts';
import { sameStat } from '../../scan/file-stat.ts';
import { type Scan, scanSet } from '../../scan/scan.ts';
import type { ScannedFile } from '../../scan/scanned.ts';
import { diskMissing, emptyFromStart, isNothingToSave } from '../../scan/set-folder.ts';
import { matcher } from '../../scan/set-patterns.ts';
import { unstampedDevices } from '../../scan/unstamped-devices.ts';
import type { SetWork, Versions } from '../set-work.ts';
import { isTrusted } from './trust.ts';

export interface Look {
  readonly scan: Scan;
  /** Files of it without a version. */
  readonly due: readonly ScannedFile[];
  /** Devices (`st_dev`) whose times don't show every write. */
  readonly unstamped: ReadonlySet<bigint>;
}

/**
 * Scans, adds the versions of files that needn't be read, and counts as stored what most likely is. `before`: the scan of
 * an earlier look of the same work.
 */
export async function look(
  work: SetWork,
  versions: Versions,
  signal: AbortSignal,
  before?: Scan,
): Promise<Look> {
  const { set, folder, index, tracker, activity, clock, seen } = work;
  const tally = tracker.count();
  const at = clock.monotonicMs();
  const scan = await scanMounted(work, signal, before).catch((error: unknown) => {
    if (isNothingToSave(error)) {
      tally.done();
      activity.scans++;
    }
    throw error;
  });
  const unstamped = await unstampedDevices(folder.location, scan.files);
  const due: ScannedFile[] = [];
  const count = (file: ScannedFile) => {
    const { path, stat } = file;
    const record = index.files.get(path);
    const isKnown = record !== undefined && sameStat(record.stat, stat);
    if (isKnown) seen.delete(path);
    else if (!sameStat(seen.get(path)?.stat ?? NO_STAT, stat)) seen.set(path, { stat, at });
    // What was read a moment ago may still be on its way.
    const isStored = isKnown && isWhole(record);
    if (isCurrent(file, versions)) return tally.add(path, stat.size, isStored);
    if (isTrusted(record, stat, !unstamped.has(stat.dev))) {
      versions.set(path, record);
      return tally.add(path, stat.size, true);
    }
    due.push(file);
    return tally.add(path, stat.size, isStored);
  };
  await forEachInSlices(scan.files, count, signal);
  tally.done();
  activity.scans++;
  activity.specials = scan.specials;
  if (seen.size > 2 * scan.files.length + 1000) {
    const paths = new Set(scan.files.map(({ path }) => path));
    for (const path of seen.keys()) if (!paths.has(path)) seen.delete(path);
  }
  if (scan.files.length === 0 && scan.lost.size > 0 && index.files.size === 0) {
    const [first] = scan.lost.values();
    throw first ?? new EvictdError('file-failed', `nothing in ${set.path} can be read`);
  }
  return { scan, due, unstamped };
}

const NO_STAT = { size: -1, mtimeNs: 0n, ctimeNs: 0n, ino: 0n, dev: 0n };

/**
 * Where a disk isn't mounted there is only its mount point: an empty folder. What was on it is not gone, so it counts as
 * lost, or where it was all of the set, nothing of that can be saved. After a boot the numbers of disks may be others:
 * then it is told by what was a mount point.
 */
async function scanMounted(
  { set, folder, index, workers, ownership, isEmptyMeant }: SetWork,
  signal: AbortSignal,
  before: Scan | undefined,
): Promise<Scan> {
  const scan = await scanSet(set, folder, workers, signal, before);
  const missing = new Map<string, EvictdError>();
  const [includes, excludes] = [matcher(set.include), matcher(set.exclude)];
  const unmounted = new Set([...index.mounts].filter((path) => !scan.mounts.has(path)));
  let isAnyThere = index.files.size === 0;
  let isAnySeen = false;
  await forEachInSlices(
    index.files,
    ([path, { stat }]) => {
      const isKnown = stat.dev !== 0n;
      isAnySeen ||= isKnown;
      const isThere = isKnown ? scan.devices.has(stat.dev) : !isBelow(path, unmounted);
      if (isThere) isAnyThere = true;
      // The config may have changed since.
      else if (includes(path) && !excludes(path)) missing.set(path, notMounted(path));
    },
    signal,
  );
  const isEmpty = scan.files.length === 0 && scan.lost.size === 0;
  if (isEmpty && missing.size > 0 && !isAnyThere) throw diskMissing(set);
  const { checkpoint } = ownership;
  if (isEmpty && !isAnySeen && !isEmptyMeant && checkpoint !== undefined && checkpoint.totals.files > 0)
    throw emptyFromStart(set, { id: checkpoint.id, files: checkpoint.totals.files });
  const there = new Set(scan.files.map(({ path }) => path));
  for (const path of missing.keys()) if (there.has(path)) missing.delete(path);
  if (missing.size === 0) {
    index.noteMounts(scan.mounts);
    return scan;
  }
  const unlisted = new Set([...scan.unlisted, ...mountPointsOf(missing.keys(), scan)]);
  return { ...scan, lost: new Map([...scan.lost, ...missing]), unlisted };
}

function isBelow(path: string, folders: ReadonlySet<string>): boolean {
  if (folders.size === 0) return false;
  let { folder } = splitPath(path);
  while (folder !== '' && !folders.has(folder)) ({ folder } = splitPath(folder));
  return folders.has(folder);
}

/** The innermost folders that are there of those that files were in. */
function* mountPointsOf(paths: Iterable<string>, { directories }: Scan): Generator<string> {
  const there = new Set(directories.map(({ path }) => path));
  for (const path of paths) {
    let { folder } = splitPath(path);
    while (folder !== '' && !there.has(folder)) ({ folder } = splitPath(folder));
    if (folder !== '') yield folder;
  }
}

function notMounted(path: string): EvictdError {
  return new EvictdError('disk-missing', `the disk that ${quotePath(path)} was on is not mounted`, {
    remedy:
      'mount it; if it is gone for good, stop evictd, remove the index of the set from state.dir, and start it',
  });
}

export function isCurrent(file: ScannedFile, versions: Versions): boolean {
  const version = versions.get(file.path);
  return version !== undefined && sameStat(version.stat, file.stat);
}
