import { chmodSync, chownSync, fstatSync } from 'node:fs';
import type { BigIntStats } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { resolve } from 'node:path';

import { EvictdError, isErrno } from '../../../base/errors.ts';
import type { Manifest } from '../../format/manifest.ts';
import { quotePath } from '../../../base/files/path-name.ts';
import { fileError } from '../../scan/file-error.ts';
import { type LinkOfOthers, refuseLinksOfOthers } from '../../scan/links-of-others.ts';
import { openFollowing } from '../../../base/files/open-following.ts';
import { createFolders } from './folders.ts';
import type { Folders } from './folders.ts';
import { lockTarget } from './lock.ts';
import type { SystemCalls } from './system-calls.ts';

/** The folder that a restore works in, by one descriptor from the first look to the last change, and locked. */
export interface Target extends AsyncDisposable {
  /** As the caller knows it. */
  readonly shown: string;
  readonly location: string;
  /** It was made just now. */
  readonly isNew: boolean;
  /** As it was before anything was done in it. */
  readonly before: BigIntStats;
  readonly folders: Folders;
  /** Something in it is going to be changed. Without, it has its old time again in the end. */
  touch(): void;
}

const NEW_FOLDER_MODE = 0o777;

/**
 * Opens the folder, made where it is missing (then it gets owner and mode of `root`); not through links of others, who
 * could have files written anywhere. Rejects `unsafe-target`, `restore-under-way`, or the error of the file.
 */
export async function openTarget(
  { folder, root }: { readonly folder: string; readonly root: Manifest['root'] },
  { system }: { readonly system: SystemCalls },
): Promise<Target> {
  await using opened = new AsyncDisposableStack();
  try {
    const { handle, isNew } = await openFollowing(resolve(folder), {
      ...refuseLinksOfOthers((link, leadsTo) => unsafeLink(folder, link, leadsTo)),
      make: (place) => mkdir(place, { mode: NEW_FOLDER_MODE }),
    });
    opened.use(handle);
    const location = system.locationOf(handle.fd);
    const before = fstatSync(handle.fd, { bigint: true });
    // Not before it is locked: until then somebody else may be changing it.
    let keepsTime = false;
    opened.defer(() => {
      try {
        if (keepsTime) system.setTime(location, before.mtimeNs);
      } catch {
        // A folder of somebody else's, whose time only they can set: it is what the lock has made it.
      }
    });
    opened.use(lockTarget(location, folder, system));
    keepsTime = !isNew;
    if (isNew) {
      if (process.geteuid?.() === 0) chownSync(location, root.uid, root.gid);
      chmodSync(location, (root.mode & 0o7777) | 0o700);
    }
    const folders = opened.use(createFolders({ root: handle.fd, shown: folder }, { system }));
    const all = opened.move();
    return {
      shown: folder,
      location,
      isNew,
      before,
      folders,
      touch: () => void (keepsTime = false),
      [Symbol.asyncDispose]: () => all.disposeAsync(),
    };
  } catch (error) {
    if (error instanceof EvictdError) throw error;
    throw isErrno(error, 'ENOTDIR', 'ELOOP') ? noFolder(folder) : notOpened(folder, error);
  }
}

function unsafeLink(folder: string, link: LinkOfOthers, leadsTo: bigint): EvictdError {
  return new EvictdError(
    'unsafe-target',
    `${folder} is reached through the link ${quotePath(link.name)}, which others than root can change (it is of ` +
      `user ${link.owner}), and which leads to a folder of user ${leadsTo}`,
    { remedy: "name the folder itself, or make the link as root in a folder of root's" },
  );
}

/** Whatever is wrong with it, it is no part of a set. */
function notOpened(folder: string, error: unknown): EvictdError {
  const { code, message } = fileError(error, folder);
  return new EvictdError(code, message, {
    remedy: 'make the folder as root, or restore into another one',
    cause: error,
  });
}

function noFolder(folder: string): EvictdError {
  return new EvictdError('unsafe-target', `${folder} is no folder`, {
    remedy: 'remove what is there, or restore into another folder',
  });
}
