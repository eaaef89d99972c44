import { EvictdError, errnoOf, isErrno, messageOf } from '../base/errors.ts';
import { quotePath } from './path-name.ts';
import type { ReadFailure } from './read-job.ts';

/** A system error while working on a local file, with the file's name and what to do. */
export function fileError(error: unknown, path: string): EvictdError {
  const errno = errnoOf(error) ?? 'unknown error';
  if (isErrno(error, 'ENOSPC', 'EDQUOT')) {
    return new EvictdError('disk-full', `no space left while writing ${quotePath(path)}`, {
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
  return new EvictdError('file-failed', `${quotePath(path)}: ${messageOf(error)}`, { cause: error });
}

/** The same for an error that a reading thread met. */
export function readError({ errno, message }: ReadFailure, path: string): EvictdError {
  return fileError(Object.assign(new Error(message), { code: errno }), path);
}

/** A file that can't be had in one consistent version. */
export function fileChanging(root: string, path: string): EvictdError {
  return new EvictdError('file-changing', `${quotePath(path)} in ${root} keeps changing while it is read`, {
    remedy:
      'stop its writer by a before-checkpoint hook, or replace the file atomically (write beside it, rename)',
  });
}

/** Not an error of the checkpoint: it is what there is. But a folder may also be empty by mistake. */
export function folderEmptied(
  root: string,
  before: { readonly id: string; readonly files: number },
): EvictdError {
  return new EvictdError(
    'folder-emptied',
    `${root} has no files any more, so the checkpoint has none; ${before.id} had ${before.files}`,
    { remedy: `if that is not as it should be: evictd restore --at ${before.id}` },
  );
}

/** The checkpoint `id` is there, but without what these files hold now. */
export function filesLost(id: string, lost: readonly EvictdError[]): EvictdError {
  const [first] = lost;
  const more = lost.length > 1 ? ` and ${lost.length - 1} other files can't be had either` : '';
  const { code = 'file-changing', message = '', remedy } = first ?? {};
  return new EvictdError(
    code,
    `${message}${more}; checkpoint ${id} has all else, and of such files what could be read last`,
    { ...(remedy !== undefined && { remedy }), cause: first },
  );
}

/** For who restores such a checkpoint. */
export function filesOlder(id: string, paths: readonly string[]): EvictdError {
  return new EvictdError(
    'files-lost',
    `when checkpoint ${id} was made, ${named(paths)} could not be read: it has what was read before, or nothing`,
  );
}

/** Not an error of the checkpoint: it is there, but its files are not all of the same moment. */
export function filesChanging(root: string, paths: readonly string[]): EvictdError {
  return new EvictdError(
    'files-changing',
    `${named(paths)} in ${root} went on changing: the checkpoint has each as it was at a moment of its own`,
    { remedy: 'stop the writer by a before-checkpoint hook, if the files have to fit together' },
  );
}

function named(paths: readonly string[]): string {
  const more = paths.length > 3 ? ` and ${paths.length - 3} more` : '';
  return `${paths.slice(0, 3).map(quotePath).join(', ')}${more}`;
}
