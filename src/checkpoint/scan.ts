import { lstat, readdir, readlink, stat } from 'node:fs/promises';
import type { BigIntStats, Stats } from 'node:fs';

import picomatch from 'picomatch';

import { forEachLimit } from '../base/concurrency.ts';
import { EvictdError, isErrno } from '../base/errors.ts';
import { fileError } from './file-error.ts';
import { isOwnPath, RESTORING } from './own-names.ts';
import { decodePath, fsPath } from './path-name.ts';
import { ENTRIES_MAX } from './schema.ts';

export interface SetOptions {
  readonly name: string;
  /** The folder. */
  readonly path: string;
  /**
   * Globs below the folder, as .gitignore reads them: without a slash (`*.tmp`) at any depth, with one from the top
   * (`/a`, `a/*.bin`, `**`); a pattern that names a folder names all that is in it.
   */
  readonly include: readonly string[];
  readonly exclude: readonly string[];
  /** Lower is committed first; that order is the caller's to keep. */
  readonly priority: number;
  /** How new content is stored. */
  readonly compress?: 'none' | 'zstd';
}

/** What tells a file's versions apart without reading it. */
export interface FileStat {
  readonly size: number;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly ino: bigint;
  readonly dev: bigint;
}

interface Attributes {
  /** Relative to the set; see path-name.ts. */
  readonly path: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

export interface ScannedFile extends Attributes {
  readonly stat: FileStat;
}

export interface ScannedDirectory extends Attributes {
  readonly mtimeNs: bigint;
}

export interface ScannedSymlink extends Attributes {
  readonly target: string;
}

/** Another name of a file that is among the `files` of the same scan. */
export interface ScannedHardLink extends ScannedFile {
  /** Path of that file. */
  readonly target: string;
}

export interface Scan {
  /** The set's own folder. */
  readonly root: Omit<Attributes, 'path'>;
  readonly files: readonly ScannedFile[];
  readonly hardLinks: readonly ScannedHardLink[];
  readonly directories: readonly ScannedDirectory[];
  readonly symlinks: readonly ScannedSymlink[];
  /** Sockets, pipes and devices: left out. */
  readonly specials: number;
}

const STATS_IN_FLIGHT = 16;

/**
 * All that belongs to the set, each list in path order. Links are not followed, so nothing outside the folder is seen.
 * Throws `set-path-missing`, `restore-unfinished`, `file-unreadable`, `too-many-files`, or the signal's reason.
 */
export async function scanSet(set: SetOptions, signal: AbortSignal): Promise<Scan> {
  const root = await checkRoot(set);
  await checkRestored(set);
  const walk: Walk = {
    set,
    includes: matcher(set.include),
    excludes: matcher(set.exclude),
    files: [],
    linkedFiles: [],
    directories: [],
    symlinks: [],
    needed: new Set(),
    specials: 0,
  };
  const pending: Folder[] = [{ path: '', included: false }];
  for (let folder = pending.pop(); folder !== undefined; folder = pending.pop()) {
    await scanFolder(walk, folder, pending, signal);
  }
  const { first, others } = groupHardLinks(walk.linkedFiles);
  return {
    root: { mode: root.mode & 0o7777, uid: root.uid, gid: root.gid },
    files: [...walk.files, ...first].sort(byPath),
    hardLinks: others,
    directories: walk.directories
      .filter(({ path, included }) => included || walk.needed.has(path))
      .sort(byPath),
    symlinks: walk.symlinks.sort(byPath),
    specials: walk.specials,
  };
}

export function statOf(stats: BigIntStats): FileStat {
  return {
    size: Number(stats.size),
    mtimeNs: stats.mtimeNs,
    ctimeNs: stats.ctimeNs,
    ino: stats.ino,
    dev: stats.dev,
  };
}

export function sameStat(one: FileStat, other: FileStat): boolean {
  return (
    one.size === other.size &&
    one.mtimeNs === other.mtimeNs &&
    one.ctimeNs === other.ctimeNs &&
    one.ino === other.ino &&
    one.dev === other.dev
  );
}

interface Folder {
  readonly path: string;
  /** It or a folder above it is named by an include pattern. */
  readonly included: boolean;
}

interface Walk {
  readonly set: SetOptions;
  readonly includes: (path: string) => boolean;
  readonly excludes: (path: string) => boolean;
  readonly files: ScannedFile[];
  /** Files with more than one name, in the set or elsewhere. */
  readonly linkedFiles: ScannedFile[];
  readonly directories: (ScannedDirectory & { readonly included: boolean })[];
  readonly symlinks: ScannedSymlink[];
  /** Folders above something included. */
  readonly needed: Set<string>;
  specials: number;
}

async function checkRoot(set: SetOptions): Promise<Stats> {
  try {
    const stats = await stat(set.path);
    if (stats.isDirectory()) return stats;
  } catch (error) {
    // Never an empty checkpoint: a disk that isn't mounted yet looks just like this.
    if (!isErrno(error, 'ENOENT', 'ENOTDIR')) throw fileError(error, set.path);
  }
  throw missing(set);
}

/** Half of an older checkpoint must not become the newest one. */
async function checkRestored({ name, path }: SetOptions): Promise<void> {
  const marker = `${path}/${RESTORING}`;
  if ((await unlessGone(lstat(marker), RESTORING)) === undefined) return;
  throw new EvictdError('restore-unfinished', `${path} of checkpoint set ${name} is only half restored`, {
    remedy: `run evictd restore --set ${name}, or remove ${marker} if the folder is good as it is`,
  });
}

function missing(set: SetOptions): EvictdError {
  return new EvictdError(
    'set-path-missing',
    `the folder ${set.path} of checkpoint set ${set.name} is not there`,
    {
      remedy: 'check checkpoint.sets[].path, and that its disk is mounted',
    },
  );
}

async function scanFolder(walk: Walk, folder: Folder, pending: Folder[], signal: AbortSignal): Promise<void> {
  const names = await readNames(walk.set, folder.path);
  await forEachLimit(names, STATS_IN_FLIGHT, signal, async (name) => {
    const path = folder.path === '' ? decodePath(name) : `${folder.path}/${decodePath(name)}`;
    if (isOwnPath(path) || walk.excludes(path)) return;
    const included = folder.included || walk.includes(path);
    const location = fsPath(walk.set.path, path);
    const stats = await unlessGone(lstat(location, { bigint: true }), path);
    if (stats === undefined) return;
    const attributes = {
      path,
      mode: Number(stats.mode) & 0o7777,
      uid: Number(stats.uid),
      gid: Number(stats.gid),
    };
    if (stats.isDirectory()) {
      walk.directories.push({ ...attributes, mtimeNs: stats.mtimeNs, included });
      pending.push({ path, included });
    } else if (!included) {
      return;
    } else if (stats.isFile()) {
      (stats.nlink > 1n ? walk.linkedFiles : walk.files).push({ ...attributes, stat: statOf(stats) });
    } else if (stats.isSymbolicLink()) {
      const target = await unlessGone(readlink(location, { encoding: 'buffer' }), path);
      if (target !== undefined) walk.symlinks.push({ ...attributes, target: decodePath(target) });
    } else {
      walk.specials++;
    }
    if (included) need(walk.needed, path);
  });
  const { files, linkedFiles, directories, symlinks } = walk;
  if (files.length + linkedFiles.length + directories.length + symlinks.length > ENTRIES_MAX) {
    throw new EvictdError(
      'too-many-files',
      `checkpoint set ${walk.set.name} has more than ${ENTRIES_MAX} entries`,
      {
        remedy: 'split it into several sets, or pack the files',
      },
    );
  }
}

/** A folder that is gone again, or is something else by now, has no names; the set's own folder has to be there. */
async function readNames(set: SetOptions, path: string): Promise<Buffer[]> {
  const names = await unlessGone(readdir(fsPath(set.path, path), { encoding: 'buffer' }), path);
  if (names === undefined && path === '') throw missing(set);
  return (names ?? []).sort((one, other) => one.compare(other));
}

async function unlessGone<T>(work: Promise<T>, path: string): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'EINVAL')) return undefined;
    throw fileError(error, path);
  }
}

/** The first name in path order stands for the file, so that it is the same one in each scan. */
function groupHardLinks(files: readonly ScannedFile[]) {
  const firstByInode = new Map<string, ScannedFile>();
  const others: ScannedHardLink[] = [];
  for (const file of files.toSorted(byPath)) {
    const inode = `${file.stat.dev}:${file.stat.ino}`;
    const first = firstByInode.get(inode);
    if (first === undefined) firstByInode.set(inode, file);
    else others.push({ ...file, target: first.path });
  }
  return { first: [...firstByInode.values()], others };
}

function need(needed: Set<string>, path: string): void {
  for (let end = path.lastIndexOf('/'); end !== -1; end = path.lastIndexOf('/', end - 1)) {
    const parent = path.slice(0, end);
    if (needed.has(parent)) return;
    needed.add(parent);
  }
}

function matcher(patterns: readonly string[]): (path: string) => boolean {
  const matchers = patterns.map((pattern) => {
    const trimmed = pattern.replace(/\/$/, '');
    // `s`: a file name may hold a newline.
    return picomatch(trimmed.replace(/^\//, ''), { dot: true, flags: 's', basename: !trimmed.includes('/') });
  });
  return (path) => matchers.some((matches) => matches(path));
}

function byPath(one: { readonly path: string }, other: { readonly path: string }): number {
  return one.path < other.path ? -1 : one.path > other.path ? 1 : 0;
}
