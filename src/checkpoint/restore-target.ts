import {
  chmod,
  chown,
  lstat,
  mkdir,
  readlink,
  realpath,
  rename,
  rm,
  symlink,
  utimes,
} from 'node:fs/promises';
import { randomBytes } from 'node:crypto';

import { EvictdError, isErrno } from '../base/errors.ts';
import { fileError } from './file-error.ts';
import { decodePath, encodePath, fsPath, quotePath } from './path-name.ts';
import type { ManifestDirectory, ManifestSymlink } from './schema.ts';

/**
 * The folder that a restore writes into. Every path is checked part by part before anything is written below it:
 * a link that lies in the target (or was put there meanwhile) is never followed.
 */
export interface RestoreTarget {
  readonly root: string;
  /** Makes a folder that can be written into; its mode and time come last, by `finishFolder`. */
  makeFolder(folder: ManifestDirectory): Promise<void>;
  finishFolder(folder: ManifestDirectory): Promise<void>;
  /** Throws `unsafe-target` unless all folders above `path` are folders. */
  checkParents(path: string): Promise<void>;
  makeSymlink(link: ManifestSymlink): Promise<void>;
  /** Gives what is at `location` the owner (only root can), the mode and the time that a manifest says. */
  dress(location: string | Buffer, attributes: FileAttributes): Promise<void>;
}

export interface FileAttributes {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeNs: string;
}

/** A name beside the final one that can't be a leftover of somebody else. */
export function temporaryPath(path: string): string {
  return `${path.slice(0, path.lastIndexOf('/') + 1)}.evictd-restore-${randomBytes(8).toString('hex')}`;
}

/** Makes the folder where it is missing; the way to it may hold links, what is below it may not. */
export async function openRestoreTarget(folder: string): Promise<RestoreTarget> {
  let root: string;
  try {
    await mkdir(folder, { recursive: true });
    root = await realpath(folder);
  } catch (error) {
    throw fileError(error, folder);
  }
  const isRoot = process.getuid?.() === 0;

  const checkParents = async (path: string) => {
    for (let end = path.indexOf('/'); end !== -1; end = path.indexOf('/', end + 1)) {
      const parent = path.slice(0, end);
      const kind = await kindOf(root, parent);
      if (kind !== 'folder') throw unsafe(root, parent, kind);
    }
  };

  const dress = async (location: string | Buffer, { mode, uid, gid, mtimeNs }: FileAttributes) => {
    if (isRoot) await chown(location, uid, gid);
    // After the owner, since a change of owner takes set-user-id away; without the right owner it must not be set.
    await chmod(location, isRoot ? mode : mode & 0o1777);
    // Node takes seconds as a double, good to a quarter of a microsecond, and cuts it down: aim for the middle of one.
    const seconds = (Number(BigInt(mtimeNs) / 1000n) + 0.5) / 1e6;
    await utimes(location, seconds, seconds);
  };

  return {
    root,
    checkParents,
    dress,
    async makeFolder({ path, mode }) {
      await checkParents(path);
      const location = fsPath(root, path);
      const kind = await kindOf(root, path);
      if (kind === 'nothing') await mkdir(location, { mode: mode | 0o700 });
      else if (kind === 'folder') await chmod(location, mode | 0o700);
      else throw unsafe(root, path, kind);
    },
    async finishFolder(folder) {
      await checkParents(`${folder.path}/`);
      await dress(fsPath(root, folder.path), folder);
    },
    async makeSymlink({ path, target }) {
      await checkParents(path);
      const location = fsPath(root, path);
      if ((await kindOf(root, path)) === 'link') {
        if (decodePath(await readlink(location, { encoding: 'buffer' })) === target) return;
      }
      const temporary = fsPath(root, temporaryPath(path));
      try {
        await symlink(encodePath(target), temporary);
        await rename(temporary, location);
      } catch (error) {
        await rm(temporary, { force: true });
        throw fileError(error, path);
      }
    },
  };
}

type Kind = 'nothing' | 'folder' | 'file' | 'link' | 'special file';

export async function kindOf(root: string, path: string): Promise<Kind> {
  try {
    const stats = await lstat(fsPath(root, path));
    if (stats.isDirectory()) return 'folder';
    if (stats.isSymbolicLink()) return 'link';
    return stats.isFile() ? 'file' : 'special file';
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return 'nothing';
    throw fileError(error, path);
  }
}

function unsafe(root: string, path: string, kind: Kind): EvictdError {
  return new EvictdError(
    'unsafe-target',
    `in ${root}, ${quotePath(path)} has to be a folder, but there is ${kind === 'nothing' ? 'nothing' : `a ${kind}`}`,
    { remedy: 'remove it, or restore into an empty folder' },
  );
}
