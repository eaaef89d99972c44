import { closeSync, constants, ftruncateSync, lstatSync, openSync, renameSync, rmSync } from 'node:fs';
import type { BigIntStats } from 'node:fs';

import { EvictdError, errnoOf, isErrno } from '../../../base/errors.ts';
import type { FileEntry } from '../../format/entry.ts';
import { fsPath, quotePath, splitPath } from '../../../base/files/path-name.ts';
import { fileError } from '../../scan/file-error.ts';
import { temporaryName } from '../../scan/own-names.ts';
import type { Target } from './open-target.ts';

/** A file beside its place that is being written. */
export interface Temporary {
  readonly entry: FileEntry;
  readonly name: string;
  readonly fd: number;
}

/** It is complete and closed, and waits for its name. */
export interface Written {
  readonly entry: FileEntry;
  readonly name: string;
  readonly ino: bigint;
}

const NEW_FILE = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** Throws `unsafe-target`, or the error of the file. */
export function createTemporary(target: Target, entry: FileEntry): Temporary {
  const name = temporaryName();
  return withFileError(entry.path, () => {
    const fd = openSync(beside(target, entry.path, name), NEW_FILE, 0o600);
    // What is written gives a file of one chunk its size.
    if (entry.chunks.length !== 1 || !entry.chunks.some((chunk) => 'pack' in chunk))
      ftruncateSync(fd, entry.size);
    return { entry, name, fd };
  });
}

/** Closes it, and removes it. */
export function dropTemporary(target: Target, { entry, name, fd }: Temporary): void {
  closeSync(fd);
  dropWritten(target, { entry, name });
}

export function dropWritten(target: Target, { entry, name }: Pick<Written, 'entry' | 'name'>): void {
  try {
    rmSync(beside(target, entry.path, name), { force: true });
  } catch (error) {
    // Its folder was taken away. The next restore sweeps up what is left.
    if (!(error instanceof EvictdError) && errnoOf(error) === undefined) throw error;
  }
}

/**
 * Gives it its name. Answers how the file is then; undefined when something else is there already.
 * Throws `unsafe-target`, or the error of the file; then the temporary file is gone.
 */
export function publish(target: Target, { entry, name, ino }: Written): BigIntStats | undefined {
  replace(target, entry.path, name);
  return withFileError(entry.path, () => {
    const stats = lstatSync(target.folders.place(entry.path), { bigint: true, throwIfNoEntry: false });
    return stats?.ino === ino ? stats : undefined;
  });
}

/** Makes something under a temporary name, which then takes the place of `path`. Throws as `publish` does. */
export function replaceWith(target: Target, path: string, make: (temporary: string | Buffer) => void): void {
  const name = temporaryName();
  try {
    withFileError(path, () => make(beside(target, path, name)));
  } catch (error) {
    rmSync(beside(target, path, name), { force: true });
    throw error;
  }
  replace(target, path, name);
}

function replace(target: Target, path: string, name: string): void {
  const { folder, name: finalName } = splitPath(path);
  const location = target.folders.at(folder);
  const temporary = fsPath(location, name);
  try {
    renameSync(temporary, fsPath(location, finalName));
  } catch (error) {
    rmSync(temporary, { force: true });
    if (!isErrno(error, 'EISDIR')) throw fileError(error, path);
    throw new EvictdError(
      'unsafe-target',
      `in ${target.shown}, ${quotePath(path)} has to be a file or a link, but there is a folder`,
      { remedy: 'remove it, or restore into an empty folder' },
    );
  }
}

function beside(target: Target, path: string, name: string): string | Buffer {
  return fsPath(target.folders.at(splitPath(path).folder), name);
}

/** Without an errno it is no error of the file system but a fault of the program. */
export function withFileError<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof EvictdError || errnoOf(error) === undefined) throw error;
    throw fileError(error, path);
  }
}
