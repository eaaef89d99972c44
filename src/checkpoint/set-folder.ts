import { lstat, stat } from 'node:fs/promises';
import type { BigIntStats } from 'node:fs';

import { EvictdError, isErrno } from '../base/errors.ts';
import { fileError } from './file-error.ts';
import { RESTORING } from './own-names.ts';

interface SetFolder {
  readonly name: string;
  readonly path: string;
}

/**
 * The set's own folder, fit to be saved.
 * Rejects `set-path-missing`, `restore-unfinished` or `file-unreadable`.
 */
export async function checkSetFolder(set: SetFolder): Promise<BigIntStats> {
  const stats = await statFolder(set);
  await checkRestored(set);
  return stats;
}

async function statFolder(set: SetFolder): Promise<BigIntStats> {
  try {
    const stats = await stat(set.path, { bigint: true });
    if (stats.isDirectory()) return stats;
  } catch (error) {
    // Never an empty checkpoint: a disk that isn't mounted yet looks just like this.
    if (!isErrno(error, 'ENOENT', 'ENOTDIR')) throw fileError(error, set.path);
  }
  throw folderMissing(set);
}

/** Half of an older checkpoint must not become the newest one. */
async function checkRestored({ name, path }: SetFolder): Promise<void> {
  const marker = `${path}/${RESTORING}`;
  try {
    await lstat(marker);
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return;
    throw fileError(error, RESTORING);
  }
  throw new EvictdError('restore-unfinished', `${path} of checkpoint set ${name} is only half restored`, {
    remedy: `run evictd restore --set ${name}, or remove ${marker} if the folder is good as it is`,
  });
}

export function folderMissing(set: SetFolder): EvictdError {
  return missing(set, 'is not there');
}

/** What is seen of a folder whose disk isn't mounted, where there is a folder to mount it on. */
export function diskMissing(set: SetFolder): EvictdError {
  return missing(set, 'is empty, and not on the disk that its files were on');
}

function missing({ name, path }: SetFolder, how: string): EvictdError {
  return new EvictdError('set-path-missing', `the folder ${path} of checkpoint set ${name} ${how}`, {
    remedy: 'check checkpoint.sets[].path, and that its disk is mounted',
  });
}
