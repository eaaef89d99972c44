import type { BigIntStats } from 'node:fs';
import { open, readlink } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';

import type { EvictdError } from '../errors.ts';
import { isErrno } from '../errors.ts';
import { decodePath, fsPath } from './path-name.ts';
import { ENTRY_FLAGS, locationOf, namesOf } from './beneath.ts';

/** As many as the kernel follows. */
const LINKS_MAX = 40;

/** A link that others than root and our user can change. */
interface DoubtfulLink {
  readonly name: string;
  readonly owner: bigint;
}

export interface FollowOptions {
  /** The error for a link that others may have put there, and that leads to a folder of `leadsTo`, another user. */
  readonly unsafe: (link: DoubtfulLink, leadsTo: bigint) => EvictdError;
  /** Makes a folder that is missing; absent: it stays missing. */
  readonly make?: (location: string | Buffer) => Promise<unknown>;
}

/**
 * Opens the folder at an absolute path, name by name as the kernel does. Links on the way are followed, but one that others
 * than root and the user we are can change only to a folder of that link's owner: otherwise they could lead us anywhere.
 * Rejects with what `unsafe` answers, or with the system's error: also ENOTDIR for what is no folder, and ELOOP.
 */
export async function openFollowing(
  path: string,
  { unsafe, make }: FollowOptions,
): Promise<{ readonly handle: FileHandle; readonly isNew: boolean }> {
  const names = [...namesOf(path)];
  const doubtful: DoubtfulLink[] = [];
  let links = 0;
  let isNew = false;
  let here = await open('/', ENTRY_FLAGS);
  const goTo = async (next: FileHandle) => {
    const before = here;
    here = next;
    await before.close();
  };
  const checkLinks = async () => {
    const stats = await here.stat({ bigint: true });
    if (!stats.isDirectory()) throw systemError('ENOTDIR', path);
    const link = doubtful.splice(0).find(({ owner }) => owner === 0n || owner !== stats.uid);
    if (link !== undefined) throw unsafe(link, stats.uid);
  };
  const openEntry = async (location: string | Buffer): Promise<FileHandle> => {
    try {
      return await open(location, ENTRY_FLAGS);
    } catch (error) {
      if (make === undefined || !isErrno(error, 'ENOENT')) throw error;
    }
    // What is made below is ours: from here on the way can't be judged by who owns its end.
    await checkLinks();
    await make(location);
    isNew = true;
    return await open(location, ENTRY_FLAGS);
  };
  try {
    for (let name = names.shift(); name !== undefined; name = names.shift()) {
      if (name === '') continue;
      const location = fsPath(locationOf(here.fd), name);
      const link = await goUnlessLink(await openEntry(location), goTo);
      if (link === undefined) continue;
      isNew = false;
      if (++links > LINKS_MAX) throw systemError('ELOOP', path);
      if (isChangeable(await here.stat({ bigint: true }), link)) doubtful.push({ name, owner: link.uid });
      const target = decodePath(await readlink(location, { encoding: 'buffer' }));
      if (target.startsWith('/')) await goTo(await open('/', ENTRY_FLAGS));
      names.unshift(...namesOf(target));
    }
    await checkLinks();
    return { handle: here, isNew };
  } catch (error) {
    await here.close();
    throw error;
  }
}

/** Goes on there, but not if it is a link: that one's attributes are answered. */
async function goUnlessLink(
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

function systemError(code: 'ENOTDIR' | 'ELOOP', path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code });
}
