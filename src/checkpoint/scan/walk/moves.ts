import { forEachLimit } from '../../../base/concurrency.ts';
import { forEachInSlices } from '../../../base/slices.ts';
import { splitPath } from '../../../base/files/path-name.ts';
import type { Folder } from './found.ts';
import { inodeOf } from '../file-stat.ts';
import { unpack } from '../scan-thread.ts';
import type { PackedStat } from '../scan-thread.ts';
import type { ScannedFile } from '../scanned.ts';
import { PATHS_TOGETHER } from './parts.ts';
import { JOBS_IN_FLIGHT } from './walk.ts';
import type { Ground } from './walk.ts';

type Look = Pick<Ground, 'location' | 'scanner' | 'onRootFailure'>;

/** Those in which something was made, removed or renamed since they were looked at. */
export async function foldersTouched(
  look: Look,
  folders: readonly Folder[],
  signal: AbortSignal,
): Promise<ReadonlySet<string>> {
  const touched = new Set<string>();
  await lookAgain(look, folders, signal, (folder, now) => {
    if (folder.disturbed || now === undefined || !isSameFolder(now, folder.stats)) touched.add(folder.path);
  });
  return touched;
}

/** Any change of its names is one of its times. A file system that stamps once in a second may tell by the others. */
export function isSameFolder(one: PackedStat, other: PackedStat): boolean {
  return (
    one.mtimeNs === other.mtimeNs &&
    one.ctimeNs === other.ctimeNs &&
    one.ino === other.ino &&
    one.dev === other.dev &&
    one.size === other.size &&
    one.nlink === other.nlink
  );
}

/**
 * Folders of files that were seen under more names than they have: one of those was moved, from a folder that had been
 * looked at to one that was still to be. What lies under two names all the time (a bind mount) is none of them.
 */
export async function foldersOfMoved(
  look: Look,
  files: () => Iterable<ScannedFile & { readonly nlink?: number }>,
  signal: AbortSignal,
): Promise<ReadonlySet<string>> {
  const suspects = await seenTooOften(files, signal);
  if (suspects.size === 0) return suspects;
  const names: ScannedFile[] = [];
  await forEachInSlices(
    files(),
    (file) => void (suspects.has(inodeOf(file.stat)) && names.push(file)),
    signal,
  );
  const moved = new Set<string>();
  await lookAgain(look, names, signal, ({ stat }, now) => {
    if (now === undefined || inodeOf(now) !== inodeOf(stat)) moved.add(inodeOf(stat));
  });
  return new Set(
    names.filter(({ stat }) => moved.has(inodeOf(stat))).map(({ path }) => splitPath(path).folder),
  );
}

async function seenTooOften(
  files: () => Iterable<ScannedFile & { readonly nlink?: number }>,
  signal: AbortSignal,
): Promise<ReadonlySet<string>> {
  const several = await inodesOfSeveral(files, signal);
  const seen = new Map<string, number>();
  const suspects = new Set<string>();
  const count = ({ stat, nlink = 1 }: ScannedFile & { readonly nlink?: number }) => {
    if (!several.has(stat.ino)) return;
    const inode = inodeOf(stat);
    const names = (seen.get(inode) ?? 0) + 1;
    seen.set(inode, names);
    if (names > nlink) suspects.add(inode);
  };
  if (several.size > 0) await forEachInSlices(files(), count, signal);
  return suspects;
}

/** Numbers that were seen before, and a few others: one bit tells of each, so that a million files take no memory. */
async function inodesOfSeveral(
  files: () => Iterable<ScannedFile>,
  signal: AbortSignal,
): Promise<ReadonlySet<bigint>> {
  const bits = new Uint8Array(INODE_BITS / 8);
  const several = new Set<bigint>();
  const note = ({ stat: { ino } }: ScannedFile) => {
    const bit = Math.abs(Number(ino)) % INODE_BITS;
    const [byte, mask] = [bit >> 3, 1 << (bit & 7)];
    const before = bits[byte] ?? 0;
    if ((before & mask) !== 0) several.add(ino);
    else bits[byte] = before | mask;
  };
  await forEachInSlices(files(), note, signal);
  return several;
}

/** Files that were made together have numbers that follow each other. */
const INODE_BITS = 2 ** 22;

async function lookAgain<Item extends { readonly path: string }>(
  { location, scanner, onRootFailure }: Look,
  items: readonly Item[],
  signal: AbortSignal,
  onItem: (item: Item, now: PackedStat | undefined) => void,
): Promise<void> {
  const starts = Array.from(
    { length: Math.ceil(items.length / PATHS_TOGETHER) },
    (_, part) => part * PATHS_TOGETHER,
  );
  await forEachLimit(starts, JOBS_IN_FLIGHT, signal, async (start, within) => {
    const some = items.slice(start, start + PATHS_TOGETHER);
    const answer = await scanner.look({ root: location, paths: some.map(({ path }) => path) }, within);
    if (answer.kind === 'failed') return onRootFailure(answer);
    for (const [index, item] of some.entries()) onItem(item, unpack(answer.stats, index));
  });
}
