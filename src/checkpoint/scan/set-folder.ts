import type { BigIntStats } from 'node:fs';
import { lstat } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';

import { EvictdError, isErrno } from '../../base/errors.ts';
import { quotePath } from '../../base/files/path-name.ts';
import { locationOf } from '../../base/files/beneath.ts';
import { fileError } from './file-error.ts';
import { openFollowing } from '../../base/files/open-following.ts';
import { type LinkOfOthers, refuseLinksOfOthers } from './links-of-others.ts';
import { RESTORING } from './own-names.ts';
import type { SetOptions } from './set-options.ts';

type NamedSet = Pick<SetOptions, 'name' | 'path'>;

/** The open folder of a set. */
export interface SetFolder extends AsyncDisposable {
  readonly handle: FileHandle;
  /** For node:fs; see `locationOf`. */
  readonly location: string;
}

const NOTHING_TO_SAVE = new Set(['set-path-missing', 'restore-unfinished', 'unsafe-link']);

/**
 * Opens the set's own folder, fit to be saved; not through links of others, who could have any file saved.
 * Rejects `set-path-missing`, `restore-unfinished`, `unsafe-link`, `file-unreadable` or `file-failed`.
 */
export async function openSetFolder(set: NamedSet): Promise<SetFolder> {
  const handle = await openHandle(set);
  const folder: SetFolder = {
    handle,
    location: locationOf(handle.fd),
    [Symbol.asyncDispose]: () => handle.close(),
  };
  try {
    await checkRestored(set, folder);
    return folder;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** The folder as it is by now. Rejects `restore-unfinished`, `file-unreadable` or `file-failed`. */
export async function checkSetFolder(set: NamedSet, folder: SetFolder): Promise<BigIntStats> {
  await checkRestored(set, folder);
  try {
    return await folder.handle.stat({ bigint: true });
  } catch (error) {
    throw fileError(error, set.path);
  }
}

async function openHandle(set: NamedSet): Promise<FileHandle> {
  try {
    const check = refuseLinksOfOthers((link, leadsTo) => unsafeLink(set, link, leadsTo));
    return (await openFollowing(set.path, check)).handle;
  } catch (error) {
    // Never an empty checkpoint: a disk that isn't mounted yet looks just like this.
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) throw folderMissing(set);
    throw error instanceof EvictdError ? error : fileError(error, set.path);
  }
}

/** Half of an older checkpoint must not become the newest one. */
async function checkRestored({ name, path }: NamedSet, { location }: SetFolder): Promise<void> {
  try {
    await lstat(`${location}/${RESTORING}`);
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return;
    throw fileError(error, RESTORING);
  }
  const marker = `${path}/${RESTORING}`;
  throw new EvictdError('restore-unfinished', `${path} of checkpoint set ${name} is only half restored`, {
    remedy: `run evictd restore --set ${name}, or remove ${marker} if the folder is good as it is`,
  });
}

/** The hooks may have the time of a set that can't be saved. */
export function isNothingToSave(error: unknown): boolean {
  return error instanceof EvictdError && NOTHING_TO_SAVE.has(error.code);
}

export function folderMissing(set: NamedSet): EvictdError {
  return missing(set, 'is not there');
}

/** What is seen of a folder whose disk isn't mounted, where there is a folder to mount it on. */
export function diskMissing(set: NamedSet): EvictdError {
  return missing(set, 'is empty, and not on the disk that its files were on');
}

/** What was there may not be mounted or restored yet: nobody has seen it go. */
export function emptyFromStart(
  set: NamedSet,
  { id, files }: { readonly id: string; readonly files: number },
): EvictdError {
  const how = `holds no file, and checkpoint ${id} has ${files}; evictd has not seen them go`;
  return missing(
    set,
    how,
    `mount its disk, or run evictd restore --set ${set.name}; if it is meant to be empty, evictd checkpoint ` +
      `--set ${set.name} --take-over says so`,
  );
}

function missing(
  { name, path }: NamedSet,
  how: string,
  remedy = 'check checkpoint.sets[].path, and that its disk is mounted',
): EvictdError {
  return new EvictdError('set-path-missing', `the folder ${path} of checkpoint set ${name} ${how}`, {
    remedy,
  });
}

function unsafeLink({ name, path }: NamedSet, link: LinkOfOthers, leadsTo: bigint): EvictdError {
  return new EvictdError(
    'unsafe-link',
    `the folder ${path} of checkpoint set ${name} is reached through the link ${quotePath(link.name)}, which others ` +
      `than root can change (it is of user ${link.owner}), and which leads to a folder of user ${leadsTo}`,
    {
      remedy:
        "name the folder itself in checkpoint.sets[].path, or make the link as root in a folder of root's",
    },
  );
}
