import { closeSync, constants, fstatSync, lstatSync, openSync, rmSync } from 'node:fs';

import { EvictdError, isErrno } from '../../../base/errors.ts';
import { fileError } from '../../scan/file-error.ts';
import type { SystemCalls } from './system-calls.ts';

/*
 * One restore at a time works on a folder: a second one would sweep away what the first has not finished. The lock is on
 * a file in the folder itself, which only its maker can open, so that nobody can hold it who couldn't change the folder
 * anyway (the folder's own lock, or a name anybody can guess, could be held by each user of the machine). The kernel
 * frees it however the process ends; a file that is left behind means nothing. Its name is that of a temporary file, so
 * it is never part of a checkpoint.
 */
export const LOCK_FILE = '.evictd-restore-0000000000000000';

const FLAGS = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK;
/** Others take and free it meanwhile, or put something in its place. */
const TRIES_MAX = 20;

/**
 * Locks the folder that is open at `location` until it is disposed. Throws `restore-under-way`, or the error of the file.
 * Where the file system knows no locks, or Node is too old to ask for one, there is none.
 */
export function lockTarget(location: string, shown: string, system: SystemCalls): Disposable {
  const file = `${location}/${LOCK_FILE}`;
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    const fd = openLock(file, shown);
    if (fd === undefined) continue;
    if (system.lock(fd) === 'held') {
      closeSync(fd);
      throw underWay(shown);
    }
    // The one before may have removed it between our opening and locking it.
    if (isStillThere(file, fd)) {
      return {
        [Symbol.dispose]() {
          rmSync(file, { force: true });
          closeSync(fd);
        },
      };
    }
    closeSync(fd);
  }
  throw underWay(shown);
}

function openLock(file: string, shown: string): number | undefined {
  try {
    return openSync(file, FLAGS, 0o600);
  } catch (error) {
    if (isErrno(error, 'ELOOP')) rmSync(file, { force: true });
    else if (isErrno(error, 'EACCES') && isThere(file)) throw underWay(shown);
    else throw fileError(error, shown);
    return undefined;
  }
}

function isThere(file: string): boolean {
  return lstatSync(file, { throwIfNoEntry: false }) !== undefined;
}

function isStillThere(file: string, fd: number): boolean {
  const there = lstatSync(file, { bigint: true, throwIfNoEntry: false });
  return there?.ino === fstatSync(fd, { bigint: true }).ino;
}

function underWay(shown: string): EvictdError {
  return new EvictdError('restore-under-way', `another restore into ${shown} is under way`, {
    remedy: `wait until it has ended; if there is none, remove ${shown}/${LOCK_FILE}`,
  });
}
