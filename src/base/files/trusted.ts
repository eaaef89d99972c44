import { constants } from 'node:fs';
import type { BigIntStats } from 'node:fs';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';

import { EvictdError } from '../errors.ts';
import { locationOf } from './beneath.ts';
import {
  type Followed,
  GROUP_OR_OTHERS_WRITE,
  STICKY,
  type Step,
  isChangeable,
  openFollowing,
  trustedUsers,
} from './open-following.ts';

/** Debian's group for /usr/local, which whoever is in it may fill (base-passwd, users-and-groups): as good as root. */
const STAFF = { group: 50n, folder: '/usr/local' };
const OTHERS_WRITE = 0o002n;

/** Open, and not to be led elsewhere any more. */
export interface Trusted extends Omit<Followed, 'isNew'>, AsyncDisposable {}

/**
 * Opens what decides what evictd does: a config, a hook, a secret, a folder of those. Whoever could have put something
 * else in its place would decide that. So the file, each folder and each link on the way to it has to be of root, of the
 * user we are or of `users`, and group and others may not write there, with three exceptions for folders: in a sticky one
 * (/tmp) owners count, entry by entry; a group with its owner's own number is that user's alone (useradd(8),
 * USERGROUPS_ENAB); and in /usr/local Debian's group `staff` may write.
 * Rejects `untrusted-path`, or with the system's error. Nothing is read yet: see `openToRead`.
 */
export async function openTrusted(path: string, users: Iterable<number> = []): Promise<Trusted> {
  const friends = [...users].map(BigInt);
  const found = await openFollowing(path, {
    onStep: (step) => checkStep(path, step, friends),
    onEnd: () => undefined,
  });
  try {
    checkOwn(path, found, friends);
  } catch (error) {
    await found.handle.close();
    throw error;
  }
  return { ...found, [Symbol.asyncDispose]: () => found.handle.close() };
}

/** The same file, to be read; not waiting for the other end of a pipe. */
export async function openToRead({ handle }: Pick<Trusted, 'handle'>): Promise<FileHandle> {
  return await open(locationOf(handle.fd), constants.O_RDONLY | constants.O_NONBLOCK);
}

/** `mode 0777, owner uid 1000`: what the operator has to see. */
export function describeOwnership({ mode, uid }: Pick<BigIntStats, 'mode' | 'uid'>): string {
  return `mode ${(mode & 0o7777n).toString(8).padStart(4, '0')}, owner uid ${uid}`;
}

function checkStep(wanted: string, step: Step, friends: readonly bigint[]): void {
  const { path, folder, name, entry } = step;
  if (!isChangeable(step, friends)) return;
  const what = `${wanted} is in ${path}`;
  if (!trustedUsers(friends).has(folder.uid)) throw ofOthers(`${what}, which`, path, folder);
  if (isOfGoodGroup(step)) return;
  if (entry === undefined || (folder.mode & STICKY) === 0n)
    throw openToOthers(`${what}, which`, path, folder);
  throw ofOthers(`${wanted} is reached through ${path}/${name}, which`, `${path}/${name}`, entry);
}

/** Only its group may write there besides its owner, and that adds nobody. */
function isOfGoodGroup({ path, folder }: Step): boolean {
  if ((folder.mode & OTHERS_WRITE) !== 0n) return false;
  const isStaffs = path === STAFF.folder || path.startsWith(`${STAFF.folder}/`);
  return folder.gid === folder.uid || (isStaffs && folder.gid === STAFF.group);
}

function checkOwn(wanted: string, { path, stats }: Followed, friends: readonly bigint[]): void {
  const what = path === wanted ? wanted : `${wanted} (${path})`;
  if (!trustedUsers(friends).has(stats.uid)) throw ofOthers(what, path, stats);
  if ((stats.mode & GROUP_OR_OTHERS_WRITE) !== 0n) throw openToOthers(what, path, stats);
}

function ofOthers(what: string, path: string, stats: BigIntStats): EvictdError {
  const who = `belongs to a user who could put something else there (${describeOwnership(stats)})`;
  return new EvictdError('untrusted-path', `${what} ${who}`, {
    remedy: `chown ${stats.isSymbolicLink() ? '-h ' : ''}root ${path}`,
  });
}

function openToOthers(what: string, path: string, stats: BigIntStats): EvictdError {
  const who = `can be written by others than its owner (${describeOwnership(stats)})`;
  return new EvictdError('untrusted-path', `${what} ${who}`, { remedy: `chmod go-w ${path}` });
}
