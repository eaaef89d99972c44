import { stat } from 'node:fs/promises';

import { EvictdError } from '../../base/errors.ts';
import { forEachInSlices } from '../../base/slices.ts';
import { splitPath } from '../../base/files/path-name.ts';
import { entryError } from './file-error.ts';
import { inodeOf } from './file-stat.ts';
import type { Folder, Found } from './walk/found.ts';
import { foldersOfMoved, foldersTouched, isSameFolder } from './walk/moves.ts';
import { packOne } from './scan-thread.ts';
import type { ScannedDirectory, ScannedFile, ScannedHardLink, ScannedSymlink } from './scanned.ts';
import { checkSetFolder, folderMissing } from './set-folder.ts';
import type { SetFolder } from './set-folder.ts';
import type { SetOptions } from './set-options.ts';
import { matcher } from './set-patterns.ts';
import { walkFolders } from './walk/walk.ts';
import type { SeenBefore } from './walk/parts.ts';
import type { Ground, Scanner } from './walk/walk.ts';

/** Of entries in a set: what is known of each takes some 300 bytes while it is committed. */
const ENTRIES_MAX = 2_000_000;

/** What lies in a set's folder; all lists in the order of comparePaths. */
export interface Scan {
  /** The set's own folder. */
  readonly root: { readonly mode: number; readonly uid: number; readonly gid: number };
  readonly files: readonly ScannedFile[];
  readonly hardLinks: readonly ScannedHardLink[];
  readonly directories: readonly ScannedDirectory[];
  readonly symlinks: readonly ScannedSymlink[];
  /** Sockets, pipes and devices: left out. */
  readonly specials: number;
  /** `st_dev` of the set's own folder and those in it. */
  readonly devices: ReadonlySet<bigint>;
  /** Folders on another disk than the one that they are in; the set's own is ''. */
  readonly mounts: ReadonlySet<string>;
  /** Where something was made, removed or renamed meanwhile: what moved may be missing. The set's own folder is `.`. */
  readonly foldersChanged: readonly string[];
  /**
   * What is there, but can't be had or can't be kept, with the reason: nobody knows what it is, or what is in it. Those
   * that are among `directories` too are kept as folders.
   */
  readonly lost: ReadonlyMap<string, EvictdError>;
  /** Of `lost`: those among `directories` of which nobody knows what is in them. */
  readonly unlisted: ReadonlySet<string>;
  /** For the next scan of the same set. */
  readonly seen: SeenBefore;
}

/**
 * All that belongs to the set. Links are not followed, so nothing outside the folder is seen. An entry that can't be
 * looked at or kept costs nothing but itself.
 * Rejects, where the set as a whole can't be saved, with `set-path-missing`, `restore-unfinished`, `file-unreadable` or
 * `file-failed` for its own folder, and `too-many-files`; or with the signal's reason. What is as it was in the scan
 * `before`, of the same set and open folder, takes far less time and no more memory.
 */
export async function scanSet(
  set: SetOptions,
  folder: SetFolder,
  scanner: Scanner,
  signal: AbortSignal,
  before?: Pick<Scan, 'seen'>,
): Promise<Scan> {
  const stats = packOne(await checkSetFolder(set, folder));
  const ground: Ground = {
    location: folder.location,
    stats,
    patterns: {
      includes: matcher(set.include),
      excludes: matcher(set.exclude),
      excludesByType: set.exclude.some((pattern) => pattern.trimEnd().endsWith('/')),
    },
    scanner,
    onRootFailure(failure) {
      throw failure.errno === 'gone' ? folderMissing(set) : entryError(failure, set.path);
    },
    onCount(entries) {
      if (entries > ENTRIES_MAX) throw tooManyFiles(set);
    },
  };
  const { root, ...walked } = await walkFolders(ground, before?.seen, signal);
  const { folders, ...lists } = await collect(root, signal);
  const mounts = mountsOf(folders, stats.dev, await deviceAround(folder));
  const touched = await foldersTouched(ground, folders, signal);
  const moved = await foldersOfMoved(ground, () => namesOf(lists), signal);
  const isRootChanged =
    root.disturbed || moved.has('') || !isSameFolder(packOne(await checkSetFolder(set, folder)), stats);
  const changed = folders.flatMap(({ path }) => (touched.has(path) || moved.has(path) ? [path] : []));
  return {
    root: { mode: stats.mode & 0o7777, uid: stats.uid, gid: stats.gid },
    ...lists,
    ...walked,
    mounts,
    foldersChanged: [...(isRootChanged ? ['.'] : []), ...changed],
  };
}

/** Of the folder that the set's own is in. */
async function deviceAround({ location }: SetFolder): Promise<bigint | undefined> {
  try {
    return (await stat(`${location}/..`, { bigint: true })).dev;
  } catch {
    // As where it is closed to us: then nobody knows, and nothing is missed later.
    return undefined;
  }
}

/** `folders`: each after the one that it is in. */
function mountsOf(
  folders: readonly Folder[],
  rootDevice: bigint,
  deviceAround: bigint | undefined,
): ReadonlySet<string> {
  const mounts = new Set<string>();
  if (deviceAround !== undefined && deviceAround !== rootDevice) mounts.add('');
  /** Of folders that aren't on the set's own. */
  const devices = new Map<string, bigint>();
  for (const { path, stats } of folders) {
    const { dev } = stats;
    if (dev !== rootDevice) devices.set(path, dev);
    if (dev !== (devices.get(splitPath(path).folder) ?? rootDevice)) mounts.add(path);
  }
  return mounts;
}

/** Puts what was found into lists. */
async function collect(root: Folder, signal: AbortSignal) {
  const folders: Folder[] = [];
  const files: ScannedFile[] = [];
  const hardLinks: ScannedHardLink[] = [];
  const directories: ScannedDirectory[] = [];
  const symlinks: ScannedSymlink[] = [];
  const lost = new Map<string, EvictdError>();
  const unlisted = new Set<string>();
  /** The first name of each file that has several: it stands for the file. */
  const firstNames = new Map<string, string>();
  const put = (found: Found) => {
    if ('parts' in found) {
      folders.push(found);
      const { path, needed, stats } = found;
      if (!needed) return;
      const { mode, uid, gid, mtimeNs } = stats;
      directories.push({ path, mode: mode & 0o7777, uid, gid, mtimeNs });
      const error = found.unlisted ?? found.unfit;
      if (error !== undefined) lost.set(path, error);
      if (found.unlisted !== undefined) unlisted.add(path);
    } else if ('error' in found) lost.set(found.path, found.error);
    else if ('target' in found) symlinks.push(found);
    else {
      const inode = 'nlink' in found ? inodeOf(found.stat) : undefined;
      const target = inode === undefined ? undefined : firstNames.get(inode);
      if (target !== undefined) hardLinks.push({ ...found, target });
      else {
        files.push(found);
        if (inode !== undefined) firstNames.set(inode, found.path);
      }
    }
  };
  await forEachInSlices(inOrder(root), put, signal);
  return { folders, files, hardLinks, directories, symlinks, lost, unlisted };
}

/** A folder directly before what is in it; not by recursion, since folders may be deeper than the stack. */
function* inOrder(root: Folder): Generator<Found> {
  const stack = [root.parts.flat().values()];
  for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
    const { done, value } = top.next();
    if (done === true) {
      stack.pop();
      continue;
    }
    yield value;
    if ('parts' in value) stack.push(value.parts.flat().values());
  }
}

function* namesOf({ files, hardLinks }: Pick<Scan, 'files' | 'hardLinks'>): Generator<ScannedFile> {
  yield* files;
  yield* hardLinks;
}

function tooManyFiles({ name }: SetOptions): EvictdError {
  return new EvictdError('too-many-files', `checkpoint set ${name} has more than ${ENTRIES_MAX} entries`, {
    remedy: 'split it into several sets, or pack the files',
  });
}
