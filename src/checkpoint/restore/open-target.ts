import {
  chmodSync,
  chownSync,
  closeSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readlinkSync,
} from 'node:fs';
import type { BigIntStats } from 'node:fs';
import { resolve } from 'node:path';

import { EvictdError, isErrno } from '../../base/errors.ts';
import { decodePath, fsPath, quotePath } from '../format/path-name.ts';
import { ENTRY_FLAGS, namesOf } from '../scan/beneath.ts';
import { fileError } from '../scan/file-error.ts';
import type { Manifest } from '../format/manifest.ts';
import { createFolders } from './folders.ts';
import type { Folders } from './folders.ts';
import { lockTarget } from './lock.ts';
import type { SystemCalls } from './system-calls.ts';

/** The folder that a restore works in, by one descriptor from the first look to the last change, and locked. */
export interface Target extends Disposable {
  /** As the caller knows it. */
  readonly shown: string;
  readonly fd: number;
  readonly location: string;
  /** It was made just now. */
  readonly isNew: boolean;
  /** As it was before anything was done in it. */
  readonly before: BigIntStats;
  readonly folders: Folders;
  /** Something in it is going to be changed. Without, it has its old time again in the end. */
  touch(): void;
}

/** As many as the kernel follows. */
const LINKS_MAX = 40;
const NEW_FOLDER_MODE = 0o777;

/**
 * Opens the folder, made where it is missing (then it gets owner and mode of `root`), name by name as the kernel does.
 * Links on the way are followed, but one that others than root and our user can change only to a folder of that link's
 * owner, as for a commit (set-folder.ts): otherwise they could have files written anywhere.
 * Throws `unsafe-target`, `restore-under-way`, or the error of the file.
 */
export function openTarget(
  { folder, root }: { readonly folder: string; readonly root: Manifest['root'] },
  { system }: { readonly system: SystemCalls },
): Target {
  const { fd, isNew } = openFolder(folder, system);
  const location = system.locationOf(fd);
  try {
    const before = fstatSync(fd, { bigint: true });
    if (!before.isDirectory()) throw noFolder(folder);
    const lock = lockTarget(location, folder, system);
    if (isNew) {
      if (process.geteuid?.() === 0) chownSync(location, root.uid, root.gid);
      chmodSync(location, (root.mode & 0o7777) | 0o700);
    }
    const folders = createFolders({ root: fd, shown: folder }, { system });
    let isTouched = isNew;
    return {
      shown: folder,
      fd,
      location,
      isNew,
      before,
      folders,
      touch: () => void (isTouched = true),
      [Symbol.dispose]() {
        folders[Symbol.dispose]();
        lock[Symbol.dispose]();
        try {
          if (!isTouched) system.setTime(location, before.mtimeNs);
        } catch {
          // A folder of somebody else's, whose time only they can set: it is what the lock has made it.
        } finally {
          closeSync(fd);
        }
      },
    };
  } catch (error) {
    closeSync(fd);
    throw error instanceof EvictdError ? error : fileError(error, folder);
  }
}

interface Link {
  readonly name: string;
  readonly owner: bigint;
}

function openFolder(folder: string, system: SystemCalls): { readonly fd: number; readonly isNew: boolean } {
  const names = [...namesOf(resolve(folder))];
  const doubtful: Link[] = [];
  let links = 0;
  let isNew = false;
  let here = openSync('/', ENTRY_FLAGS);
  const goTo = (next: number) => {
    closeSync(here);
    here = next;
  };
  try {
    for (let name = names.shift(); name !== undefined; name = names.shift()) {
      if (name === '') continue;
      const path = fsPath(system.locationOf(here), name);
      let next = openEntry(path);
      if (next === undefined) {
        // What is made below is ours: from here on the way can't be judged by who owns its end.
        checkLinks(doubtful.splice(0), fstatSync(here, { bigint: true }), folder);
        mkdirSync(path, NEW_FOLDER_MODE);
        next = openSync(path, ENTRY_FLAGS);
        isNew = true;
      }
      const stats = fstatSync(next, { bigint: true });
      if (!stats.isSymbolicLink()) {
        goTo(next);
        continue;
      }
      closeSync(next);
      isNew = false;
      if (++links > LINKS_MAX) throw noFolder(folder);
      if (isChangeable(fstatSync(here, { bigint: true }), stats)) doubtful.push({ name, owner: stats.uid });
      const target = decodePath(readlinkSync(path, { encoding: 'buffer' }));
      if (target.startsWith('/')) goTo(openSync('/', ENTRY_FLAGS));
      names.unshift(...namesOf(target));
    }
    checkLinks(doubtful, fstatSync(here, { bigint: true }), folder);
    return { fd: here, isNew };
  } catch (error) {
    closeSync(here);
    if (error instanceof EvictdError) throw error;
    throw isErrno(error, 'ENOTDIR') ? noFolder(folder) : fileError(error, folder);
  }
}

function openEntry(path: string | Buffer): number | undefined {
  return lstatSync(path, { throwIfNoEntry: false }) === undefined ? undefined : openSync(path, ENTRY_FLAGS);
}

/** By others than root and the user we are. */
function isChangeable(folder: BigIntStats, link: BigIntStats): boolean {
  const trusted = new Set([0n, BigInt(process.geteuid?.() ?? 0)]);
  if (!trusted.has(folder.uid) || !trusted.has(link.uid)) return true;
  const writable = (folder.mode & 0o022n) !== 0n;
  // In a sticky folder only the owner of a link may replace it.
  return writable && (folder.mode & 0o1000n) === 0n;
}

function checkLinks(doubtful: readonly Link[], { uid }: BigIntStats, folder: string): void {
  const unsafe = doubtful.find(({ owner }) => owner === 0n || owner !== uid);
  if (unsafe === undefined) return;
  throw new EvictdError(
    'unsafe-target',
    `${folder} is reached through the link ${quotePath(unsafe.name)}, which others than root can change (it is of ` +
      `user ${unsafe.owner}), and which leads to a folder of user ${uid}`,
    { remedy: "name the folder itself, or make the link as root in a folder of root's" },
  );
}

function noFolder(folder: string): EvictdError {
  return new EvictdError('unsafe-target', `${folder} is no folder`, {
    remedy: 'remove what is there, or restore into another folder',
  });
}
