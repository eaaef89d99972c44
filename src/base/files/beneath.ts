import { closeSync, constants, openSync, readlinkSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';

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

/**
 * Folders below one, each open until another one is asked for that isn't below it: so a walk opens each folder once,
 * however deep it is. For work without a pause; openFolders is for work with pauses.
 */
export interface OpenFoldersSync extends Disposable {
  /** Where the folder `path` ('' for the first one itself) is. Throws the system's error, ENOTDIR for a link. */
  at(path: string): string;
}

/** `location` of the first one: see `locationOf`. */
export function openFoldersSync(location: string): OpenFoldersSync {
  // Looking up "self" anew costs a quarter of each look at a file.
  const own = `/proc/${readlinkSync('/proc/self')}/fd`;
  const chain = createChain((fd: number) => closeSync(fd));
  const innermost = () => {
    const folder = chain.innermost();
    return folder === undefined ? location : `${own}/${folder}`;
  };
  return {
    at(path) {
      for (const name of chain.missing(path))
        chain.add(name, openSync(fsPath(innermost(), name), FOLDER_FLAGS));
      chain.reached(path);
      return innermost();
    },
    [Symbol.dispose]: () => chain.closeAll(),
  };
}

/** As OpenFoldersSync, for work with pauses. Ask for one after the other. */
export interface OpenFolders extends AsyncDisposable {
  /** Rejects with the system's error, ENOTDIR for a link. */
  at(path: string): Promise<string>;
}

export function openFolders(location: string): OpenFolders {
  const closing: Promise<void>[] = [];
  const chain = createChain((folder: FileHandle) => void closing.push(folder.close()));
  const innermost = () => {
    const folder = chain.innermost();
    return folder === undefined ? location : locationOf(folder.fd);
  };
  return {
    async at(path) {
      for (const name of chain.missing(path))
        chain.add(name, await open(fsPath(innermost(), name), FOLDER_FLAGS));
      chain.reached(path);
      await Promise.all(closing.splice(0));
      return innermost();
    },
    async [Symbol.asyncDispose]() {
      chain.closeAll();
      await Promise.all(closing);
    },
  };
}

/** Folders that are open, each in the one before it. */
interface Chain<Opened> {
  innermost(): Opened | undefined;
  /** Closes those that aren't above `path`, and answers the names of those that are still to be opened and added. */
  missing(path: string): readonly string[];
  add(name: string, opened: Opened): void;
  /** All of `path` is open. Those in the same folder come one after the other: they cost nothing then. */
  reached(path: string): void;
  closeAll(): void;
}

function createChain<Opened>(close: (opened: Opened) => void): Chain<Opened> {
  const chain: { readonly name: string; readonly opened: Opened }[] = [];
  let current: string | undefined;
  const closeFrom = (depth: number) => {
    for (const { opened } of chain.splice(depth)) close(opened);
  };
  return {
    innermost: () => chain.at(-1)?.opened,
    missing(path) {
      if (path === current) return NONE;
      const above = current;
      current = undefined;
      // Most often it is in the one before, and comparing all names would make a deep tree's cost quadratic.
      if (above !== undefined && above !== '' && path.startsWith(`${above}/`)) {
        return namesOf(path.slice(above.length + 1));
      }
      const names = namesOf(path);
      const other = chain.findIndex(({ name }, depth) => name !== names[depth]);
      if (other !== -1) closeFrom(other);
      return names.slice(chain.length);
    },
    add: (name, opened) => void chain.push({ name, opened }),
    reached(path) {
      current = path;
    },
    closeAll() {
      current = undefined;
      closeFrom(0);
    },
  };
}

const NONE: readonly string[] = [];

export function namesOf(path: string): readonly string[] {
  return path === '' ? [] : path.split('/');
}
