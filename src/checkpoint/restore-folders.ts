import { constants } from 'node:fs';
import { lstat, open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';

import { EvictdError, isErrno } from '../base/errors.ts';
import { fileError } from './file-error.ts';
import { fsPath, quotePath, splitPath } from './path-name.ts';

/*
 * INVARIANTS
 * - A folder is opened by its name within its open parent, and never through a link. All work inside it goes by the
 *   open folder (/proc/self/fd/N/NAME, since Node has no openat), so that whoever moves folders or puts links into
 *   the target meanwhile can't lead a restore outside.
 * - An open folder is closed only while nobody uses it, and each one exactly once.
 * - At most IDLE_MAX folders that nobody uses stay open.
 */

export interface OpenFolder {
  readonly handle: FileHandle;
  /** Where `name` in this folder is, for node:fs. */
  at(name: string): string | Buffer;
}

export interface FolderTree extends AsyncDisposable {
  /**
   * Runs `work` with the folder `path` (relative to the root, '' for itself).
   * Rejects `unsafe-target` when it is not there or is something else, or with what `work` rejects with.
   */
  use<T>(path: string, work: (folder: OpenFolder) => Promise<T>): Promise<T>;
  /** Closes the folders that nobody uses: the next use looks again what lies at their paths. */
  forget(): Promise<void>;
}

export const FOLDER_FLAGS = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const IDLE_MAX = 64;

interface Entry {
  readonly opened: Promise<OpenFolder>;
  users: number;
}

/** `root` is the real path of a folder. Rejects with the system's error. */
export async function openFolderTree(root: string): Promise<FolderTree> {
  const rootFolder = folderOf(await open(root, FOLDER_FLAGS));
  const entries = new Map<string, Entry>();

  async function use<T>(path: string, work: (folder: OpenFolder) => Promise<T>): Promise<T> {
    if (path === '') return work(rootFolder);
    const entry = entries.get(path) ?? { opened: openBelow(path), users: 0 };
    entries.set(path, entry);
    entry.users++;
    let isOpen = false;
    try {
      const folder = await entry.opened;
      isOpen = true;
      return await work(folder);
    } finally {
      entry.users--;
      if (!isOpen && entries.get(path) === entry) entries.delete(path);
      await closeIdle(IDLE_MAX);
    }
  }

  function openBelow(path: string): Promise<OpenFolder> {
    const { folder: parent, name } = splitPath(path);
    return use(parent, async (folder) => {
      try {
        return folderOf(await open(folder.at(name), FOLDER_FLAGS));
      } catch (error) {
        if (!isErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) throw fileError(error, path);
        throw notAFolder(root, path, await kindOf(folder, name));
      }
    });
  }

  async function closeIdle(kept: number): Promise<void> {
    let excess = -kept;
    for (const { users } of entries.values()) if (users === 0) excess++;
    const closing: Promise<void>[] = [];
    for (const [path, entry] of entries) {
      if (closing.length >= excess) break;
      if (entry.users > 0) continue;
      entries.delete(path);
      closing.push(entry.opened.then(({ handle }) => handle.close()));
    }
    await Promise.all(closing);
  }

  return {
    use,
    forget: () => closeIdle(0),
    async [Symbol.asyncDispose]() {
      await closeIdle(0);
      await rootFolder.handle.close();
    },
  };
}

export type Kind = 'nothing' | 'folder' | 'file' | 'link' | 'special file';

export async function kindOf(folder: OpenFolder, name: string): Promise<Kind> {
  try {
    const stats = await lstat(folder.at(name));
    if (stats.isDirectory()) return 'folder';
    if (stats.isSymbolicLink()) return 'link';
    return stats.isFile() ? 'file' : 'special file';
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return 'nothing';
    throw fileError(error, name);
  }
}

export function notAFolder(root: string, path: string, kind: Kind): EvictdError {
  const found = kind === 'nothing' ? 'nothing' : `a ${kind}`;
  return new EvictdError(
    'unsafe-target',
    `in ${root}, ${quotePath(path)} has to be a folder, but there is ${found}`,
    { remedy: 'remove it, or restore into an empty folder' },
  );
}

function folderOf(handle: FileHandle): OpenFolder {
  const location = `/proc/self/fd/${handle.fd}`;
  return { handle, at: (name) => fsPath(location, name) };
}
