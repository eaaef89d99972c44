import type { BigIntStats } from 'node:fs';
import { lstat, open, readlink } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';

import { EvictdError, isErrno } from '../../base/errors.ts';
import { ENTRY_FLAGS, locationOf, namesOf } from './beneath.ts';
import { fileError } from './file-error.ts';
import { RESTORING } from './own-names.ts';
import { decodePath, fsPath, quotePath } from '../format/path-name.ts';

interface SetPlace {
  readonly name: string;
  readonly path: string;
}

/** The open folder of a set. */
export interface SetFolder extends AsyncDisposable {
  readonly handle: FileHandle;
  /** For node:fs; see `locationOf`. */
  readonly location: string;
}

const NOTHING_TO_SAVE = new Set(['set-path-missing', 'restore-unfinished', 'unsafe-link']);

/** As many as the kernel follows. */
const LINKS_MAX = 40;

/**
 * Opens the set's own folder, fit to be saved. Links on the way to it are followed, but one that others than root and
 * the daemon's user can change only to a folder of that link's owner: otherwise they could have any file saved.
 * Rejects `set-path-missing`, `restore-unfinished`, `unsafe-link`, `file-unreadable` or `file-failed`.
 */
export async function openSetFolder(set: SetPlace): Promise<SetFolder> {
  const { handle, doubtful } = await openThroughLinks(set);
  const folder: SetFolder = {
    handle,
    location: locationOf(handle.fd),
    [Symbol.asyncDispose]: () => handle.close(),
  };
  try {
    const stats = await handle.stat({ bigint: true });
    if (!stats.isDirectory()) throw folderMissing(set);
    const unsafe = doubtful.find(({ owner }) => owner === 0n || owner !== stats.uid);
    if (unsafe !== undefined) throw unsafeLink(set, unsafe, stats.uid);
    await checkRestored(set, folder);
    return folder;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** The folder as it is by now. Rejects `restore-unfinished`, `file-unreadable` or `file-failed`. */
export async function checkSetFolder(set: SetPlace, folder: SetFolder): Promise<BigIntStats> {
  await checkRestored(set, folder);
  try {
    return await folder.handle.stat({ bigint: true });
  } catch (error) {
    throw fileError(error, set.path);
  }
}

interface Link {
  readonly path: string;
  readonly owner: bigint;
}

interface Found {
  readonly handle: FileHandle;
  /** Links on the way that others may have put there. */
  readonly doubtful: readonly Link[];
}

/** Opens what lies at the set's path, name by name as the kernel does. */
async function openThroughLinks(set: SetPlace): Promise<Found> {
  const names = [...namesOf(set.path)];
  const doubtful: Link[] = [];
  let links = 0;
  let here = await open('/', ENTRY_FLAGS);
  const goTo = async (next: FileHandle) => {
    const before = here;
    here = next;
    await before.close();
  };
  try {
    for (let name = names.shift(); name !== undefined; name = names.shift()) {
      if (name === '') continue;
      const path = fsPath(locationOf(here.fd), name);
      const link = await followed(await open(path, ENTRY_FLAGS), goTo);
      if (link === undefined) continue;
      if (++links > LINKS_MAX) throw folderMissing(set);
      if (isChangeable(await here.stat({ bigint: true }), link))
        doubtful.push({ path: name, owner: link.uid });
      const target = decodePath(await readlink(path, { encoding: 'buffer' }));
      if (target.startsWith('/')) await goTo(await open('/', ENTRY_FLAGS));
      names.unshift(...namesOf(target));
    }
    return { handle: here, doubtful };
  } catch (error) {
    await here.close();
    // Never an empty checkpoint: a disk that isn't mounted yet looks just like this.
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) throw folderMissing(set);
    if (error instanceof EvictdError) throw error;
    throw fileError(error, set.path);
  }
}

/** Goes on there, but not if it is a link: that one's attributes are answered. */
async function followed(
  next: FileHandle,
  goTo: (next: FileHandle) => Promise<void>,
): Promise<BigIntStats | undefined> {
  let isOurs = true;
  try {
    const stats = await next.stat({ bigint: true });
    if (stats.isSymbolicLink()) return stats;
    isOurs = false;
    await goTo(next);
    return undefined;
  } finally {
    if (isOurs) await next.close();
  }
}

/** By others than root and the user we are. */
function isChangeable(folder: BigIntStats, link: BigIntStats): boolean {
  const trusted = new Set([0n, BigInt(process.geteuid?.() ?? 0)]);
  if (!trusted.has(folder.uid) || !trusted.has(link.uid)) return true;
  const writable = (folder.mode & 0o022n) !== 0n;
  // In a sticky folder only the owner of a link may replace it.
  return writable && (folder.mode & 0o1000n) === 0n;
}

/** Half of an older checkpoint must not become the newest one. */
async function checkRestored({ name, path }: SetPlace, { location }: SetFolder): Promise<void> {
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

export function folderMissing(set: SetPlace): EvictdError {
  return missing(set, 'is not there');
}

/** What is seen of a folder whose disk isn't mounted, where there is a folder to mount it on. */
export function diskMissing(set: SetPlace): EvictdError {
  return missing(set, 'is empty, and not on the disk that its files were on');
}

function missing({ name, path }: SetPlace, how: string): EvictdError {
  return new EvictdError('set-path-missing', `the folder ${path} of checkpoint set ${name} ${how}`, {
    remedy: 'check checkpoint.sets[].path, and that its disk is mounted',
  });
}

function unsafeLink({ name, path }: SetPlace, link: Link, owner: bigint): EvictdError {
  return new EvictdError(
    'unsafe-link',
    `the folder ${path} of checkpoint set ${name} is reached through the link ${quotePath(link.path)}, which others ` +
      `than root can change (it is of user ${link.owner}), and which leads to a folder of user ${owner}`,
    {
      remedy:
        "name the folder itself in checkpoint.sets[].path, or make the link as root in a folder of root's",
    },
  );
}
