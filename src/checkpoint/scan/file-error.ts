import { EvictdError, errnoOf, isErrno, messageOf } from '../../base/errors.ts';
import { quotePath } from '../../base/files/path-name.ts';
import type { EntryFailure } from './scan-job.ts';

/** By errno; what isn't here may be anything. */
const REMEDIES: Readonly<Record<string, string>> = {
  ENOTCONN: 'the process behind this mount is gone: unmount it or mount it anew, or exclude it from the set',
  ESTALE: 'the server of this mount has it no longer: mount it anew, or exclude it from the set',
  EIO: 'check the disk and the log of the kernel; what is in the last good checkpoint can be restored',
  EUCLEAN: 'the file system is damaged: unmount it and run fsck',
  ELOOP: 'a link is where none should be: see what was put there',
  ENAMETOOLONG: 'shorten its path, or exclude it from the set',
  EMFILE: 'raise LimitNOFILE of the service',
  ENFILE: 'raise fs.file-max of the machine',
  EAGAIN: 'somebody has a lease on it: stop who has it by a before-checkpoint hook',
  ETIMEDOUT: 'see why the server of this mount does not answer, or exclude it from the set',
  EHOSTDOWN: 'see why the server of this mount does not answer, or exclude it from the set',
};
const ANY_REMEDY = 'see what is there, or exclude it from the set';

/** A system error while working on a local file, with the file's name and what to do. */
export function fileError(error: unknown, path: string): EvictdError {
  const errno = errnoOf(error) ?? 'unknown error';
  if (isErrno(error, 'ENOSPC', 'EDQUOT')) {
    return new EvictdError('disk-full', `no space left while writing ${quotePath(path)} (${errno})`, {
      remedy: 'make room or choose another folder',
      cause: error,
    });
  }
  if (isErrno(error, 'EACCES', 'EPERM')) {
    return new EvictdError('file-unreadable', `no permission for ${quotePath(path)} (${errno})`, {
      remedy: 'let the user that evictd runs as read and write it, or exclude it from the set',
      cause: error,
    });
  }
  return new EvictdError('file-failed', `${quotePath(path)}: ${withoutPlace(messageOf(error))}`, {
    remedy: REMEDIES[errno] ?? ANY_REMEDY,
    cause: error,
  });
}

/** The same for what a thread met. */
export function entryError({ errno, message }: EntryFailure, path: string): EvictdError {
  return fileError(Object.assign(new Error(message), { code: errno }), path);
}

/** A system error, for another thread. */
export function failureOf(error: unknown): EntryFailure {
  return { errno: errnoOf(error) ?? 'unknown', message: withoutPlace(messageOf(error)) };
}

/** Node names the place that it was told, which is one of open folders: of no use to anybody else. */
function withoutPlace(message: string): string {
  return message.replace(/ '\/proc\/.*$/s, '');
}

/** What can't be in a checkpoint; see entryProblem. */
export function entryUnfit(path: string, problem: string): EvictdError {
  return new EvictdError('entry-unfit', `${quotePath(shown(path))} can't be in a checkpoint: ${problem}`, {
    remedy: 'change that (mv, touch, chown), or exclude it from the set',
  });
}

/** A path may be as long as somebody likes. */
function shown(path: string): string {
  return path.length > 300 ? `${path.slice(0, 200)}…${path.slice(-50)}` : path;
}
