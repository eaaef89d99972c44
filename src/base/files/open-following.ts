import type { BigIntStats } from 'node:fs';
import { open, readlink } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';

import { isErrno } from '../errors.ts';
import { ENTRY_FLAGS, locationOf, namesOf } from './beneath.ts';
import { decodePath, fsPath } from './path-name.ts';

/** As many as the kernel follows. */
const LINKS_MAX = 40;

/** From a folder on the way to an entry in it. */
export interface Step {
  /** Of the folder, with no link in it. */
  readonly path: string;
  readonly folder: BigIntStats;
  readonly name: string;
  /** Undefined when there is none of this name. */
  readonly entry: BigIntStats | undefined;
}

export interface FollowOptions {
  /** Throws what there is against a step, before it is taken. */
  readonly onStep: (step: Step) => void;
  /** The same for where the way ends, and for where its first missing folder would be made. */
  readonly onEnd: (end: Pick<Step, 'path' | 'folder'>) => void;
  /** Makes a folder that is missing; absent: it stays missing. */
  readonly make?: (location: string | Buffer) => Promise<unknown>;
}

/** Open, and nothing more: see `ENTRY_FLAGS`. */
export interface Followed {
  readonly handle: FileHandle;
  /** With no link in it. */
  readonly path: string;
  readonly stats: BigIntStats;
  /** It was made just now. */
  readonly isNew: boolean;
}

/**
 * Opens what is at an absolute path, name by name as the kernel does, so that what is looked at is what is gone through.
 * Rejects with what `onStep` and `onEnd` throw, or with the system's error: also ENOTDIR for what is no folder on the way,
 * and ELOOP.
 */
export async function openFollowing(path: string, options: FollowOptions): Promise<Followed> {
  const { onStep, onEnd, make } = options;
  const ahead = [...namesOf(path)];
  let here = await openRoot();
  let links = 0;
  let isNew = false;
  const goTo = async (next: Place) => {
    const before = here;
    here = next;
    await before.handle.close();
  };
  const openEntry = async (name: string): Promise<Place> => {
    const { path: above, stats: folder } = here;
    const location = fsPath(locationOf(here.handle.fd), name);
    const openIt = async () => follow(await open(location, ENTRY_FLAGS), pathOf(above, name));
    try {
      return await openIt();
    } catch (error) {
      if (!isErrno(error, 'ENOENT')) throw error;
      onStep({ path: above, folder, name, entry: undefined });
      if (make === undefined) throw error;
      onEnd({ path: above, folder });
    }
    await make(location);
    isNew = true;
    return await openIt();
  };
  try {
    for (let name = ahead.shift(); name !== undefined; name = ahead.shift()) {
      if (name === '') continue;
      const { path: above, stats: folder } = here;
      const next = await openEntry(name);
      try {
        onStep({ path: above, folder, name, entry: next.stats });
      } catch (error) {
        await next.handle.close();
        throw error;
      }
      if (!next.stats.isSymbolicLink()) {
        await goTo(next);
        continue;
      }
      await next.handle.close();
      isNew = false;
      if (++links > LINKS_MAX) throw systemError('ELOOP', path);
      const location = fsPath(locationOf(here.handle.fd), name);
      const target = decodePath(await readlink(location, { encoding: 'buffer' }));
      if (target.startsWith('/')) await goTo(await openRoot());
      ahead.unshift(...namesOf(target));
    }
    onEnd({ path: here.path, folder: here.stats });
    return { ...here, isNew };
  } catch (error) {
    await here.handle.close();
    throw error;
  }
}

/** Rejects ENOTDIR for anything but a folder; for `onEnd`. */
export function expectFolder({ path, folder }: Pick<Step, 'path' | 'folder'>): void {
  if (!folder.isDirectory()) throw systemError('ENOTDIR', path);
}

/** By others than root, the user we are and `users`: they own the folder, or it is open to them, or the entry is theirs. */
export function isChangeable(
  { folder, entry }: Pick<Step, 'folder' | 'entry'>,
  users: Iterable<bigint> = [],
): boolean {
  const trusted = trustedUsers(users);
  if (!trusted.has(folder.uid)) return true;
  if ((folder.mode & GROUP_OR_OTHERS_WRITE) === 0n) return false;
  // In a sticky folder only the owner of an entry may replace it.
  return (folder.mode & STICKY) === 0n || (entry !== undefined && !trusted.has(entry.uid));
}

export function trustedUsers(users: Iterable<bigint> = []): ReadonlySet<bigint> {
  return new Set([0n, BigInt(process.geteuid?.() ?? 0), ...users]);
}

export const GROUP_OR_OTHERS_WRITE = 0o022n;
export const STICKY = 0o1000n;

/** On the way. */
type Place = Omit<Followed, 'isNew'>;

async function openRoot(): Promise<Place> {
  return await follow(await open('/', ENTRY_FLAGS), '/');
}

async function follow(handle: FileHandle, path: string): Promise<Place> {
  try {
    return { handle, path, stats: await handle.stat({ bigint: true }) };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

function pathOf(above: string, name: string): string {
  if (name === '.') return above;
  if (name === '..') return above.slice(0, above.lastIndexOf('/')) || '/';
  return above === '/' ? `/${name}` : `${above}/${name}`;
}

function systemError(code: 'ENOTDIR' | 'ELOOP', path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code });
}
