import { closeSync, lstatSync, readlinkSync } from 'node:fs';
import type { BigIntStats } from 'node:fs';

import type { Entry } from '../format/entry.ts';
import type { Manifest } from '../format/manifest.ts';
import { decodePath, splitPath } from '../../base/files/path-name.ts';
import { isErrno } from '../../base/errors.ts';
import { fileError } from '../scan/file-error.ts';
import type { AttributeSetter } from './target/attributes.ts';
import { openLocal } from './keep-files.ts';
import type { Local } from './keep-files.ts';
import type { Target } from './target/open-target.ts';
import { withFileError } from './target/temporary.ts';

/*
 * What is work that the checkpoint doesn't have? A restore before the workload starts must not take it back. All that
 * would be changed is compared with the checkpoint's entry by type, size, time, mode, owner, and where a link leads.
 * What differs is judged by times that nobody can set:
 *
 * - Did this folder's disk live through? It did when the folder was born before the checkpoint was made; where its birth
 *   isn't known (the topmost folder of many a file system has none), when some file is there as it was. Then an entry that
 *   differs is newer work when it was changed (ctime) after the checkpoint was made, as every file is that was renamed,
 *   copied with its old time (`cp -p`) or given another mode, or when it was written after the version in the checkpoint
 *   was, since a commit takes a while and its end is when it was "made".
 * - Otherwise it is a new disk, and what is on it came from an image or was put there before us, with a new ctime all of
 *   it: newer work is only what was written to (mtime) after the checkpoint was made.
 * - A file that has the time of its version in the checkpoint, and was not changed since it got that, is that version,
 *   though its content may be damaged: a machine that is taken away keeps times of writes that never reached the disk.
 * - An entry that is gone was taken away or moved, as a job from todo/ to done/ is, when its folder was there before the
 *   checkpoint was made and names in it were changed after that. It must not come back. In a folder that was born later
 *   it has never been, nor on a new disk.
 * - What was restored here from the checkpoint before (its parent) is no work of anybody.
 * - A folder's time changes with each name in it: names are judged themselves, so of a folder only mode and owner count.
 */
export interface NewerWorkOptions {
  readonly manifest: Manifest;
  readonly entries: () => AsyncIterable<{ readonly entry: Entry; readonly isAbove: boolean }>;
  /** Those of the checkpoint before; none where it isn't there any more. */
  readonly parentEntries: () => AsyncIterable<Entry>;
}

export interface NewerWorkDependencies {
  readonly target: Target;
  readonly attributes: Pick<AttributeSetter, 'areSet'>;
  /** Whether the content of an open file is that of its entry. */
  readonly isSame: (local: Local) => Promise<boolean>;
}

const SUSPECTS_MAX = 1000;
const ENTRIES_TOGETHER = 256;
/** What the kernel stamps may be older than the clock says by so much. */
const TICK_NS = 20_000_000n;

/** A path that is newer work, or undefined. Nothing is changed. Rejects with what a walk rejects with, or a file's error. */
export async function findNewerWork(
  { manifest, entries, parentEntries }: NewerWorkOptions,
  { target, attributes, isSame }: NewerWorkDependencies,
  signal: AbortSignal,
): Promise<string | undefined> {
  const madeAtNs = BigInt(Date.parse(manifest.createdAt)) * 1_000_000n;
  const stampedNs = madeAtNs - TICK_NS;
  const { birthtimeNs } = target.before;
  const survived = birthtimeNs === 0n ? undefined : birthtimeNs <= madeAtNs;
  const suspects: Suspect[] = [];
  let count = 0;
  let isAnyAsItWas = false;
  /** Those that are folders on disk, with when names in them had been changed, by the checkpoint's word. */
  const folders = new Map([['', stampedNs]]);
  for await (const { entry, isAbove } of entries()) {
    if (++count % ENTRIES_TOGETHER === 0) await new Promise((resolve) => setImmediate(resolve));
    signal.throwIfAborted();
    const { path } = entry;
    const { folder } = splitPath(path);
    const listedNs = folders.get(folder);
    // What becomes of a folder that is none here was judged at its own entry.
    if (listedNs === undefined) continue;
    const found = lookAt(target, path);
    if (found === undefined) {
      if (!isAbove && survived !== false && wasTaken(target, folder, { listedNs, madeAtNs })) {
        suspects.push({ path, isNewerOnNewDisk: false });
      }
    } else {
      if (entry.type === 'directory' && found.isDirectory()) folders.set(path, entry.mtimeNs);
      if (isAbove) continue;
      const isEqual = withFileError(path, () => isAsEntry(target, entry, found, attributes));
      if (isEqual && entry.type !== 'file') continue;
      if (isEqual && found.ctimeNs <= stampedNs) isAnyAsItWas = true;
      // Another content with the old time and size shows only when it is read.
      else if (!isEqual || (survived !== false && !(await isUnchanged(target, entry, isSame)))) {
        const isNewerOnNewDisk = entry.type !== 'directory' && !isEqual && found.mtimeNs > madeAtNs;
        if (isNewerOnNewDisk || (survived !== false && isNewer(entry, found, { stampedNs, madeAtNs })))
          suspects.push({ path, isNewerOnNewDisk });
      }
    }
    if (suspects.length > SUSPECTS_MAX) break;
  }
  const hasSurvived = survived ?? isAnyAsItWas;
  const newer = suspects.filter(({ isNewerOnNewDisk }) => isNewerOnNewDisk || hasSurvived);
  return newer.length === 0 ? undefined : notOfParent(target, newer, parentEntries(), attributes);
}

interface Suspect {
  readonly path: string;
  /** It is newer work also if this disk didn't live through; otherwise only if it did. */
  readonly isNewerOnNewDisk: boolean;
}

function lookAt(target: Target, path: string): BigIntStats | undefined {
  try {
    return lstatSync(target.folders.place(path), { bigint: true, throwIfNoEntry: false });
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw fileError(error, path);
  }
}

/** By type, time and size, mode and owner, and where a link leads; of another name of a file nothing is known here. */
function isAsEntry(
  target: Target,
  entry: Entry,
  found: BigIntStats,
  attributes: Pick<AttributeSetter, 'areSet'>,
): boolean {
  switch (entry.type) {
    case 'directory':
      return found.isDirectory() && attributes.areSet(found, entry);
    case 'symlink':
      return found.isSymbolicLink() && linkTarget(target, entry.path) === entry.target;
    case 'file': {
      const isVersion =
        found.isFile() && Number(found.size) === entry.size && found.mtimeNs === entry.mtimeNs;
      return isVersion && attributes.areSet(found, entry);
    }
    case 'hardlink': {
      const other = lookAt(target, entry.target);
      return found.isFile() && other?.ino === found.ino && other.dev === found.dev;
    }
  }
}

function linkTarget(target: Target, path: string): string {
  return decodePath(readlinkSync(target.folders.place(path), { encoding: 'buffer' }));
}

async function isUnchanged(
  target: Target,
  entry: Entry,
  isSame: NewerWorkDependencies['isSame'],
): Promise<boolean> {
  const local = entry.type === 'file' ? openLocal(target, entry) : undefined;
  if (local === undefined) return false;
  try {
    return await isSame(local);
  } finally {
    closeSync(local.fd);
  }
}

/** On a disk that lived through. */
function isNewer(
  entry: Entry,
  found: BigIntStats,
  { stampedNs, madeAtNs }: { readonly stampedNs: bigint; readonly madeAtNs: bigint },
): boolean {
  const { mtimeNs, ctimeNs, birthtimeNs } = found;
  if (entry.type === 'hardlink') return ctimeNs > stampedNs;
  if (entry.type === 'directory' && found.isDirectory())
    return ctimeNs > stampedNs && birthtimeNs <= madeAtNs;
  if (entry.type === 'file' && mtimeNs === entry.mtimeNs && ctimeNs === mtimeNs) return false;
  return ctimeNs > stampedNs || mtimeNs > entry.mtimeNs;
}

function wasTaken(
  target: Target,
  folder: string,
  { listedNs, madeAtNs }: { readonly listedNs: bigint; readonly madeAtNs: bigint },
): boolean {
  const { birthtimeNs, mtimeNs } =
    folder === ''
      ? target.before
      : withFileError(folder, () => lstatSync(`${target.folders.at(folder)}/.`, { bigint: true }));
  return birthtimeNs <= madeAtNs && mtimeNs > listedNs;
}

/** The first that isn't what the checkpoint before had there. */
async function notOfParent(
  target: Target,
  suspects: readonly Suspect[],
  parentEntries: AsyncIterable<Entry>,
  attributes: Pick<AttributeSetter, 'areSet'>,
): Promise<string | undefined> {
  const left = new Set(suspects.map(({ path }) => path));
  for await (const entry of parentEntries) {
    if (!left.has(entry.path)) continue;
    const found = lookAt(target, entry.path);
    if (found !== undefined && isAsEntry(target, entry, found, attributes)) left.delete(entry.path);
  }
  const [first] = left;
  return first;
}
