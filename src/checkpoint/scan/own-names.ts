import { randomBytes } from 'node:crypto';

/*
 * Names that evictd itself gives to files within a set's folder. None of them is ever part of a checkpoint,
 * and a folder of such a name can't be in a set.
 */

/** In the set's folder, once a restore is complete and on disk. */
export const RESTORED = '.evictd-restored';
/** In the set's folder, from before the first change of a restore until it is complete. */
export const RESTORING = '.evictd-restoring';

const TEMPORARY = /^\.evictd-restore-[0-9a-f]{16}$/;

/** A name for a file that is not complete yet; nobody can guess it. */
export function temporaryName(): string {
  return `.evictd-restore-${randomBytes(8).toString('hex')}`;
}

export function isTemporaryName(name: string): boolean {
  return TEMPORARY.test(name);
}

/** Whether `path`, relative to the set, is one of them. */
export function isOwnPath(path: string): boolean {
  return path === RESTORED || path === RESTORING || isTemporaryName(path.slice(path.lastIndexOf('/') + 1));
}
