import { constants } from 'node:fs';

import type { EvictdError } from '../../../base/errors.ts';
import type { Attributes, Entry } from '../../format/entry.ts';
import { entryProblem } from '../../format/entry-problem.ts';
import { entryError, entryUnfit } from '../file-error.ts';
import type { EntryFailure } from '../scan-job.ts';
import type { PackedStat } from '../scan-thread.ts';
import type { ScannedFile, ScannedSymlink } from '../scanned.ts';
import type { Matcher } from '../set-patterns.ts';

/** A folder that was found, and what was found in it. */
export interface Folder {
  readonly path: string;
  readonly depth: number;
  /** Undefined for the set's own. */
  readonly parent: Folder | undefined;
  /** It or a folder above it is named by an include pattern. */
  readonly included: boolean;
  readonly stats: PackedStat;
  /** What is in it: all that is in one part comes before all that is in the next, in the order of names. */
  readonly parts: Found[][];
  /** It is part of the set, since something in it is. */
  needed: boolean;
  /** Something that was listed wasn't there a moment later. */
  disturbed: boolean;
  /** Why it can't be listed. */
  unlisted: EvictdError | undefined;
  /** Why it isn't kept just as it is. */
  readonly unfit: EvictdError | undefined;
}

/** A file with more than one name, in the set or elsewhere. */
export interface LinkedFile extends ScannedFile {
  readonly nlink: number;
}

/** What can't be had. */
export interface LostEntry {
  readonly path: string;
  readonly error: EvictdError;
}

export type Found = ScannedFile | LinkedFile | ScannedSymlink | LostEntry | Folder;

export function createFolder(
  place: { readonly path: string; readonly parent: Folder | undefined },
  included: boolean,
  stats: PackedStat,
  unfit?: EvictdError,
): Folder {
  const { path, parent } = place;
  return {
    path,
    depth: parent === undefined ? 0 : parent.depth + 1,
    parent,
    included,
    stats,
    parts: [],
    needed: false,
    disturbed: false,
    unlisted: undefined,
    unfit,
  };
}

/** Marks it and those above as part of the set. */
export function need(folder: Folder | undefined): void {
  for (let at = folder; at !== undefined && !at.needed; at = at.parent) at.needed = true;
}

/** What a look at an entry of a folder answered. */
export interface Seen {
  readonly path: string;
  readonly parent: Folder;
  readonly stats: PackedStat | undefined;
  /** Where a symbolic link leads. */
  readonly target: string | undefined;
  readonly failure: EntryFailure | undefined;
}

export interface Patterns {
  readonly includes: Matcher;
  readonly excludes: Matcher;
  /** What an entry is decides whether it is excluded. */
  readonly excludesByType: boolean;
}

/** What that is to the set; undefined: nothing. */
export function classify(seen: Seen, patterns: Patterns): Found | 'special' | undefined {
  const { path, parent, stats, target, failure } = seen;
  if (stats === undefined) {
    if (failure === undefined || failure.errno === 'gone') parent.disturbed = true;
    // Of something that can't be looked at nobody knows whether it is a folder.
    else if (!isOut(patterns, path) && !isOut(patterns, `${path}/`))
      return lost(path, entryError(failure, path));
    return undefined;
  }
  const type = stats.mode & constants.S_IFMT;
  const isFolder = type === constants.S_IFDIR;
  const named = isFolder ? `${path}/` : path;
  if (isOut(patterns, named)) return undefined;
  const included = parent.included || patterns.includes(named);
  if (!isFolder && !included) return undefined;
  if (!isFolder && type !== constants.S_IFREG && target === undefined) return 'special';
  const { uid, gid, size, nlink, mtimeNs, ctimeNs, ino } = stats;
  const mode = stats.mode & 0o7777;
  const problem = entryProblem(entryOf(isFolder, { path, mode, uid, gid, mtimeNs }, size, target));
  if (problem !== undefined) return lost(path, entryUnfit(path, problem));
  const unfit = failure === undefined ? undefined : entryUnfit(path, failure.message);
  if (isFolder) return createFolder({ path, parent }, included, stats, unfit);
  if (unfit !== undefined) return lost(path, unfit);
  if (target !== undefined) return { path, mode, uid, gid, mtimeNs, target };
  // One value for all files of a device: of a million, that is 24 MB.
  const dev = stats.dev === parent.stats.dev ? parent.stats.dev : stats.dev;
  const stat = { size, mtimeNs, ctimeNs, ino, dev };
  return nlink > 1 ? { path, mode, uid, gid, stat, nlink } : { path, mode, uid, gid, stat };
}

function isOut({ excludes, excludesByType }: Patterns, path: string): boolean {
  return excludesByType && excludes(path);
}

function lost(path: string, error: EvictdError): LostEntry {
  return { path, error };
}

/** As the checkpoint would have it. */
function entryOf(
  isFolder: boolean,
  { path, mode, uid, gid, mtimeNs }: Attributes & { readonly path: string },
  size: number,
  target: string | undefined,
): Entry {
  if (isFolder) return { type: 'directory', path, mode, uid, gid, mtimeNs };
  if (target !== undefined) return { type: 'symlink', path, mode, uid, gid, mtimeNs, target };
  return { type: 'file', path, mode, uid, gid, mtimeNs, size, chunks: size === 0 ? [] : [{ plain: size }] };
}
