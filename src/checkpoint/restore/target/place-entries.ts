import {
  chmodSync,
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';

import { isErrno } from '../../../base/errors.ts';
import type { DirectoryEntry, HardLinkEntry, SymlinkEntry } from '../../format/entry.ts';
import { decodePath, encodePath, fsPath } from '../../../base/files/path-name.ts';
import { ENTRY_FLAGS } from '../../../base/files/beneath.ts';
import { isTemporaryName } from '../../scan/own-names.ts';
import type { AttributeSetter } from './attributes.ts';
import { kindOf, notAFolder } from './folders.ts';
import { LOCK_FILE } from './lock.ts';
import type { Target } from './open-target.ts';
import type { SystemCalls } from './system-calls.ts';
import { replaceWith, withFileError } from './temporary.ts';

export interface PlaceContext {
  readonly target: Target;
  readonly attributes: AttributeSetter;
  readonly system: SystemCalls;
}

/**
 * Makes a folder that can be written into, and sweeps one that is there; its owner, mode and time come last, by
 * `finishFolder`. Answers whether it was made. Throws `unsafe-target`, or the error of the file.
 */
export function makeFolder({ target }: PlaceContext, { path }: DirectoryEntry): boolean {
  return withFileError(path, () => {
    const location = target.folders.place(path);
    try {
      mkdirSync(location, { mode: 0o700 });
      return true;
    } catch (error) {
      if (!isErrno(error, 'EEXIST')) throw error;
    }
    const kind = kindOf(location, path);
    if (kind !== 'folder') throw notAFolder(target.shown, path, kind);
    const folder = target.folders.at(path);
    const mode = statSync(folder).mode & 0o7777;
    if (process.geteuid?.() !== 0 && (mode & 0o700) !== 0o700) chmodSync(folder, mode | 0o700);
    sweep(target, path);
    return false;
  });
}

/** Removes what an earlier restore that was killed has left in a folder. */
export function sweep(target: Target, path: string): void {
  withFileError(path === '' ? target.shown : path, () => {
    const location = target.folders.at(path);
    for (const name of readdirSync(`${location}/.`)) {
      if (isTemporaryName(name) && name !== LOCK_FILE) rmSync(fsPath(location, name), { force: true });
    }
  });
}

/** `sync`: wait until the folder itself is on disk. */
export function finishFolder(
  { target, attributes }: PlaceContext,
  entry: DirectoryEntry,
  { sync }: { readonly sync: boolean },
): void {
  withFileError(entry.path, () => {
    const location = target.folders.at(entry.path);
    attributes.set(location, statSync(location, { bigint: true }), entry);
    if (sync) syncFolder(location);
  });
}

/** Waits until a folder (its names, not what they name) is on disk. */
export function syncFolder(location: string): void {
  const fd = openSync(`${location}/.`, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Throws `unsafe-target`, or the error of the file. */
export function makeSymlink(context: PlaceContext, entry: SymlinkEntry): void {
  const { target } = context;
  withFileError(entry.path, () => {
    const place = target.folders.place(entry.path);
    if (isSymlinkTo(place, entry)) return setSymlinkAttributes(context, entry, place);
    return replaceWith(target, entry.path, (temporary) => {
      symlinkSync(encodePath(entry.target), temporary);
      setSymlinkAttributes(context, entry, temporary);
    });
  });
}

/** By the link that is open, whatever takes its name meanwhile. */
function setSymlinkAttributes(
  { attributes, system }: PlaceContext,
  entry: SymlinkEntry,
  place: string | Buffer,
): void {
  const fd = openSync(place, ENTRY_FLAGS);
  try {
    const stats = fstatSync(fd, { bigint: true });
    if (stats.isSymbolicLink()) attributes.set(system.locationOf(fd), stats, entry);
  } finally {
    closeSync(fd);
  }
}

function isSymlinkTo(place: string | Buffer, { path, target }: SymlinkEntry): boolean {
  return kindOf(place, path) === 'link' && decodePath(readlinkSync(place, { encoding: 'buffer' })) === target;
}

/** Throws `unsafe-target`, or the error of the file. */
export function makeHardLink({ target }: PlaceContext, { path, target: other }: HardLinkEntry): void {
  withFileError(path, () => {
    const file = lstatSync(target.folders.place(other), { bigint: true });
    const there = lstatSync(target.folders.place(path), { bigint: true, throwIfNoEntry: false });
    // Renaming one name of a file to another one of the same file does nothing, so that is asked first.
    if (there?.dev === file.dev && there.ino === file.ino) return;
    replaceWith(target, path, (temporary) => linkSync(target.folders.place(other), temporary));
  });
}
