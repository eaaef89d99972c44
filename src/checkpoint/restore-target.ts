import { constants } from 'node:fs';
import {
  link,
  lchown,
  lstat,
  mkdir,
  open,
  readdir,
  readlink,
  realpath,
  rename,
  rm,
  symlink,
} from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';

import { errnoOf, EvictdError, isErrno } from '../base/errors.ts';
import { makeFolder } from '../base/folder.ts';
import { fileError } from './file-error.ts';
import { isTemporaryName, temporaryName } from './own-names.ts';
import { decodePath, encodePath, quotePath, splitPath } from './path-name.ts';
import { dress } from './restore-attributes.ts';
import { FOLDER_FLAGS, kindOf, notAFolder, openFolderTree } from './restore-folders.ts';
import type { OpenFolder } from './restore-folders.ts';
import type { ManifestDirectory, ManifestHardLink, ManifestRoot, ManifestSymlink } from './schema.ts';

/**
 * The folder that a restore writes into. Whatever is put there is made under a temporary name beside its place and
 * renamed, and no link that lies in the target, or is put there meanwhile, is ever followed.
 */
export interface RestoreTarget extends AsyncDisposable {
  readonly root: string;
  /** Runs `work` with the folder that holds `path`. Rejects `unsafe-target`, or with what `work` rejects with. */
  inFolderOf<T>(path: string, work: (folder: OpenFolder, name: string) => Promise<T>): Promise<T>;
  /** Puts a file in place of what has its name; whatever goes wrong, that stays as it was. */
  replaceFile(path: string, fill: (handle: FileHandle) => Promise<void>): Promise<void>;
  /** Makes a folder that can be written into; its mode and time come last, by `finishFolder`. */
  makeFolder(folder: ManifestDirectory): Promise<void>;
  /** Looks anew what lies at the folder's path. */
  finishFolder(folder: ManifestDirectory): Promise<void>;
  makeSymlink(symlink: ManifestSymlink): Promise<void>;
  makeHardLink(hardLink: ManifestHardLink): Promise<void>;
  /** Removes what an earlier restore that was killed has left in the folder itself. */
  sweep(): Promise<void>;
  /** To call once before folders are finished. */
  forgetFolders(): Promise<void>;
  /** Waits until the target's own folder is on disk. */
  sync(): Promise<void>;
}

export interface RestoreTargetOptions {
  /** Made where it is missing; the way to it may hold links, what is below it may not. */
  readonly folder: string;
  /** Files and folders are on disk before a call says that they are done. */
  readonly durable: boolean;
  /** What the folder gets when it has to be made. */
  readonly ifNew: ManifestRoot | undefined;
}

const NEW_FILE = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

export async function openRestoreTarget(options: RestoreTargetOptions): Promise<RestoreTarget> {
  const { durable } = options;
  const root = await madeFolder(options);
  const tree = await openFolderTree(root);
  const isRoot = process.getuid?.() === 0;

  function inFolderOf<T>(path: string, work: (folder: OpenFolder, name: string) => Promise<T>): Promise<T> {
    const { folder, name } = splitPath(path);
    return tree.use(folder, (open) => work(open, name));
  }

  const replace = (path: string, make: (temporary: string | Buffer) => Promise<unknown>) =>
    inFolderOf(path, (folder, name) => replaceIn(folder, name, root, path, make));

  return {
    root,
    inFolderOf,
    replaceFile: (path, fill) =>
      replace(path, async (temporary) => {
        await using handle = await open(temporary, NEW_FILE, 0o600);
        await fill(handle);
        if (durable) await handle.sync();
      }),
    async makeFolder({ path }) {
      const isNew = await inFolderOf(path, (parent, name) => makeFolderIn(parent, name, root, path));
      if (isNew) return;
      await tree.use(path, async (folder) => {
        if (!isRoot) await letWrite(folder, path);
        await sweepFolder(folder, path);
      });
    },
    finishFolder: (attributes) =>
      tree.use(attributes.path, async ({ handle }) => {
        try {
          await dress(handle, attributes);
          if (durable) await handle.sync();
        } catch (error) {
          throw fileError(error, attributes.path);
        }
      }),
    async makeSymlink({ path, target, uid, gid }) {
      if (await inFolderOf(path, (folder, name) => isSymlinkTo(folder, name, target))) return;
      await replace(path, async (temporary) => {
        await symlink(encodePath(target), temporary);
        if (isRoot) await lchown(temporary, uid, gid);
      });
    },
    makeHardLink: ({ path, target }) =>
      inFolderOf(target, async (folder, name) => {
        const file = folder.at(name);
        if (await inFolderOf(path, (other, otherName) => isSameFile(file, other.at(otherName)))) return;
        // Renaming one name of a file to another one of the same file does nothing, so that is asked first.
        await replace(path, (temporary) => link(file, temporary));
      }),
    sweep: () => tree.use('', (folder) => sweepFolder(folder, root)),
    forgetFolders: () => tree.forget(),
    sync: () => tree.use('', ({ handle }) => handle.sync()),
    [Symbol.asyncDispose]: () => tree[Symbol.asyncDispose](),
  };
}

async function madeFolder({ folder, ifNew }: RestoreTargetOptions): Promise<string> {
  try {
    const isNew = await makeFolder(folder, 0o777);
    const root = await realpath(folder);
    if (!isNew || ifNew === undefined) return root;
    await using handle = await open(root, FOLDER_FLAGS);
    if (process.getuid?.() === 0) await handle.chown(ifNew.uid, ifNew.gid);
    await handle.chmod(ifNew.mode | 0o700);
    return root;
  } catch (error) {
    throw fileError(error, folder);
  }
}

/** True when it is new; false when there is something, which may be anything. */
async function makeFolderIn(parent: OpenFolder, name: string, root: string, path: string): Promise<boolean> {
  try {
    await mkdir(parent.at(name), { mode: 0o700 });
    return true;
  } catch (error) {
    if (!isErrno(error, 'EEXIST')) throw fileError(error, path);
  }
  const kind = await kindOf(parent, name);
  if (kind !== 'folder') throw notAFolder(root, path, kind);
  return false;
}

/** `make` creates something under a temporary name; then that takes the place of `name`. */
async function replaceIn(
  folder: OpenFolder,
  name: string,
  root: string,
  path: string,
  make: (temporary: string | Buffer) => Promise<unknown>,
): Promise<void> {
  const temporary = folder.at(temporaryName());
  try {
    await make(temporary);
    await rename(temporary, folder.at(name));
  } catch (error) {
    await rm(temporary, { force: true });
    if (error instanceof EvictdError || errnoOf(error) === undefined) throw error;
    throw isErrno(error, 'EISDIR') ? folderInTheWay(root, path) : fileError(error, path);
  }
}

async function letWrite({ handle }: OpenFolder, path: string): Promise<void> {
  const { mode } = await handle.stat();
  if ((mode & 0o700) === 0o700) return;
  try {
    await handle.chmod((mode & 0o7777) | 0o700);
  } catch (error) {
    throw fileError(error, path);
  }
}

async function sweepFolder(folder: OpenFolder, path: string): Promise<void> {
  try {
    const names = await readdir(folder.at('.'));
    for (const name of names.filter(isTemporaryName)) await rm(folder.at(name), { force: true });
  } catch (error) {
    throw fileError(error, path);
  }
}

async function isSymlinkTo(folder: OpenFolder, name: string, target: string): Promise<boolean> {
  if ((await kindOf(folder, name)) !== 'link') return false;
  return decodePath(await readlink(folder.at(name), { encoding: 'buffer' })) === target;
}

async function isSameFile(one: string | Buffer, other: string | Buffer): Promise<boolean> {
  const first = await lstat(one, { bigint: true });
  try {
    const second = await lstat(other, { bigint: true });
    return first.dev === second.dev && first.ino === second.ino;
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return false;
    throw error;
  }
}

function folderInTheWay(root: string, path: string): EvictdError {
  return new EvictdError(
    'unsafe-target',
    `in ${root}, ${quotePath(path)} has to be a file or a link, but there is a folder`,
    { remedy: 'remove it, or restore into an empty folder' },
  );
}
