import { closeSync, lstatSync, openSync } from 'node:fs';

import { EvictdError, isErrno } from '../../../base/errors.ts';
import { fsPath, quotePath, splitPath } from '../../../base/files/path-name.ts';
import { FOLDER_FLAGS } from '../../../base/files/beneath.ts';
import { fileError } from '../../scan/file-error.ts';
import type { SystemCalls } from './system-calls.ts';

/*
 * INVARIANTS
 * - A folder is opened by its name within its open parent, and never through a link. All work inside it goes by the
 *   open folder, so that whoever moves folders or puts links into the target meanwhile can't lead a restore outside.
 * - What is answered is true until the next call: use it at once. At most OPEN_MAX folders stay open.
 */
export interface Folders extends Disposable {
  /** Where the folder `path` ('' for the target itself) is. Throws `unsafe-target` when there is none, or no folder. */
  at(path: string): string;
  /** Where an entry is, by its name in its open folder. Throws as `at`. */
  place(path: string): string | Buffer;
}

const OPEN_MAX = 128;

/** `root`: the descriptor of the target, whose closing is the caller's; `shown` is how people know it. */
export function createFolders(
  { root, shown }: { readonly root: number; readonly shown: string },
  { system }: { readonly system: SystemCalls },
): Folders {
  /** The one that was used last is at the end. */
  const open = new Map<string, number>();
  const at = (path: string): string => {
    if (path === '') return system.locationOf(root);
    const known = open.get(path);
    const fd = known ?? openBelow(path);
    if (known !== undefined) open.delete(path);
    open.set(path, fd);
    for (const [other, otherFd] of open) {
      if (open.size <= OPEN_MAX) break;
      open.delete(other);
      closeSync(otherFd);
    }
    return system.locationOf(fd);
  };
  const place = (path: string) => {
    const { folder, name } = splitPath(path);
    return fsPath(at(folder), name);
  };
  const openBelow = (path: string): number => {
    const location = place(path);
    try {
      return openSync(location, FOLDER_FLAGS);
    } catch (error) {
      if (!isErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) throw fileError(error, path);
      throw notAFolder(shown, path, kindOf(location, path));
    }
  };
  return {
    at,
    place,
    [Symbol.dispose]() {
      for (const fd of open.values()) closeSync(fd);
      open.clear();
    },
  };
}

type Kind = 'nothing' | 'folder' | 'file' | 'link' | 'special file';

/** Throws the error of a file that can't be looked at. */
export function kindOf(location: string | Buffer, path: string): Kind {
  try {
    const stats = lstatSync(location);
    if (stats.isDirectory()) return 'folder';
    if (stats.isSymbolicLink()) return 'link';
    return stats.isFile() ? 'file' : 'special file';
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return 'nothing';
    throw fileError(error, path);
  }
}

export function notAFolder(target: string, path: string, kind: Kind): EvictdError {
  const found = kind === 'nothing' ? 'nothing' : `a ${kind}`;
  return new EvictdError(
    'unsafe-target',
    `in ${target}, ${quotePath(path)} has to be a folder, but there is ${found}`,
    { remedy: 'remove it, or restore into an empty folder' },
  );
}
