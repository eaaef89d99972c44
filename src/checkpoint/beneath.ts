import { closeSync, constants, openSync, readlinkSync } from 'node:fs';

import { fsPath } from './path-name.ts';

/*
 * Whoever owns a folder can put a link to anywhere in its place at any instant, and the daemon may read what they may
 * not. So folders are opened one by one, each by its name in its open parent (/proc/self/fd/N/NAME, since Node has no
 * openat), and never through a link.
 */

/** Of fcntl.h, the same on x86-64 and arm64; Node doesn't name it. Such a folder need not be readable. */
const O_PATH = 0o10000000;
/** To open a folder for what is in it. */
export const FOLDER_FLAGS = O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW;
/** To open what may be a link, as the link itself. */
export const ENTRY_FLAGS = O_PATH | constants.O_NOFOLLOW;
/** To read a file: not through a link that took its place, and not waiting for the other end of a pipe. */
export const FILE_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** Where an open folder is, for node:fs, whatever becomes of its path. */
export function locationOf(fd: number): string {
  return `/proc/self/fd/${fd}`;
}

/** Folders below one, each open until another one is asked for that isn't below it. For work without a pause. */
export interface FoldersBeneath extends Disposable {
  /** Where the folder `path` ('' for the first one itself) is. Throws the system's error, ENOTDIR for a link. */
  at(path: string): string;
}

/** `location` of the first one: see `locationOf`. */
export function foldersBeneath(location: string): FoldersBeneath {
  // Looking up "self" anew costs a quarter of each look at a file.
  const own = `/proc/${readlinkSync('/proc/self')}/fd`;
  const open: { readonly name: string; readonly fd: number }[] = [];
  const closeFrom = (depth: number) => {
    for (const { fd } of open.splice(depth)) closeSync(fd);
  };
  const innermost = () => {
    const folder = open.at(-1);
    return folder === undefined ? location : `${own}/${folder.fd}`;
  };
  // Those in the same folder come one after the other.
  let current: string | undefined;
  return {
    at(path) {
      if (path === current) return innermost();
      current = undefined;
      const names = namesOf(path);
      const known = open.findIndex(({ name }, depth) => name !== names[depth]);
      if (known !== -1) closeFrom(known);
      for (const name of names.slice(open.length)) {
        open.push({ name, fd: openSync(fsPath(innermost(), name), FOLDER_FLAGS) });
      }
      current = path;
      return innermost();
    },
    [Symbol.dispose]: () => closeFrom(0),
  };
}

export function namesOf(path: string): readonly string[] {
  return path === '' ? [] : path.split('/');
}
