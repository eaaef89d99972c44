import type { EvictdError } from '../../../base/errors.ts';
import { forEachInSlices } from '../../../base/slices.ts';
import { type FileChunk, isStored } from '../../format/chunk.ts';
import type { Entry } from '../../format/entry.ts';
import { comparePaths } from '../../format/path-order.ts';
import { splitPath } from '../../../base/files/path-name.ts';
import { createTreeCheck } from '../../format/tree/check.ts';
import { entryUnfit } from '../../scan/file-error.ts';
import type { Scan } from '../../scan/scan.ts';
import { entriesOf, unlessUnreadable } from '../own/adopt.ts';
import type { SetWork, Versions } from '../set-work.ts';

/** What a checkpoint has, in the order of paths; entries that can't be stored are added to `lost`. */
export async function entriesFor(
  work: SetWork,
  scan: Scan,
  versions: Versions,
  lost: Map<string, EvictdError>,
  signal: AbortSignal,
): Promise<readonly Entry[]> {
  const entries = await readable(merged(scan, versions), lost, signal);
  if (lost.size === 0) return entries;
  const former = await formerEntries(work, entries, lostFilter(lost, scan.unlisted), signal);
  return withFormer(entries, former, lost, signal);
}

/** The same with all that `isWanted` of what the checkpoint before had, where nothing has taken its place. */
export async function entriesWithFormer(
  work: SetWork,
  found: { readonly scan: Scan; readonly versions: Versions; readonly isWanted: (path: string) => boolean },
  lost: Map<string, EvictdError>,
  signal: AbortSignal,
): Promise<{ readonly entries: readonly Entry[]; readonly former: readonly Entry[] }> {
  const entries = await readable(merged(found.scan, found.versions), lost, signal);
  const former = await formerEntries(work, entries, found.isWanted, signal);
  return { entries: await withFormer(entries, former, lost, signal), former };
}

async function withFormer(
  entries: readonly Entry[],
  former: readonly Entry[],
  lost: Map<string, EvictdError>,
  signal: AbortSignal,
): Promise<readonly Entry[]> {
  if (former.length === 0) return entries;
  const all = [...entries, ...former].toSorted((one, other) => comparePaths(one.path, other.path));
  return readable(all, lost, signal);
}

/** Those of which a reader of the checkpoint would say the same; of the others, that they are lost. */
async function readable(
  entries: Iterable<Entry>,
  lost: Map<string, EvictdError>,
  signal: AbortSignal,
): Promise<readonly Entry[]> {
  const check = createTreeCheck(true);
  const good: Entry[] = [];
  const add = (entry: Entry) => {
    const problem = check(entry);
    if (problem === undefined) good.push(entry);
    else lost.set(entry.path, entryUnfit(entry.path, problem));
  };
  await forEachInSlices(entries, add, signal);
  return good;
}

function* merged(scan: Scan, versions: Versions): Iterable<Entry> {
  const lists: readonly Iterator<Entry>[] = [
    mapped(scan.directories, ({ path, mode, uid, gid, mtimeNs }) => ({
      type: 'directory',
      path,
      mode,
      uid,
      gid,
      mtimeNs,
    })),
    mapped(scan.files, ({ path, mode, uid, gid }) => {
      const version = versions.get(path);
      if (version === undefined) return undefined;
      const { size, mtimeNs } = version.stat;
      return { type: 'file', path, mode, uid, gid, size, mtimeNs, chunks: version.chunks };
    }),
    mapped(scan.symlinks, ({ path, target, mode, uid, gid, mtimeNs }) => ({
      type: 'symlink',
      path,
      target,
      mode,
      uid,
      gid,
      mtimeNs,
    })),
    mapped(scan.hardLinks, ({ path, target }) => ({ type: 'hardlink', path, target })),
  ];
  const heads = lists.map((list) => list.next());
  for (;;) {
    let first = -1;
    let entry: Entry | undefined;
    for (const [index, head] of heads.entries()) {
      if (head.done === true || (entry !== undefined && comparePaths(head.value.path, entry.path) > 0))
        continue;
      entry = head.value;
      first = index;
    }
    const list = lists[first];
    if (entry === undefined || list === undefined) return;
    yield entry;
    heads[first] = list.next();
  }
}

function* mapped<T>(items: readonly T[], map: (item: T) => Entry | undefined): Generator<Entry> {
  for (const item of items) {
    const entry = map(item);
    if (entry !== undefined) yield entry;
  }
}

/** What can't be had now: the entry itself, and where a folder can't be listed all that was in it. */
function lostFilter(
  lost: ReadonlyMap<string, EvictdError>,
  unlisted: ReadonlySet<string>,
): (path: string, isInFormer: boolean) => boolean {
  /** Of what is lost; of a disk that isn't mounted they are gone, too. */
  const folders = new Set<string>();
  for (const path of lost.keys())
    for (let folder = parentOf(path); folder !== '' && !folders.has(folder); folder = parentOf(folder))
      folders.add(folder);
  return (path, isInFormer) =>
    isInFormer || lost.has(path) || folders.has(path) || unlisted.has(parentOf(path));
}

/**
 * What is wanted of what the checkpoint before had; `isInFormer`: it is in a folder that is there only because of that.
 * Left out is what another kind of entry has the place of, and whose content is not in the store any more.
 */
async function formerEntries(
  { ownership, store, prefix, packs, onNote }: SetWork,
  entries: readonly Entry[],
  isWanted: (path: string, isInFormer: boolean) => boolean,
  signal: AbortSignal,
): Promise<readonly Entry[]> {
  const { checkpoint } = ownership;
  if (checkpoint === undefined) return [];
  const there = new Map(entries.map((entry) => [entry.path, entry.type]));
  const found: Entry[] = [];
  const fromBefore = new Set<string>();
  const isThere = (chunk: FileChunk) => !isStored(chunk) || packs.has(chunk);
  const hasFolder = (path: string) => {
    const parent = parentOf(path);
    return parent === '' || there.get(parent) === 'directory';
  };
  await unlessUnreadable(onNote, async () => {
    for await (const entry of entriesOf(checkpoint, { store, prefix }, signal)) {
      const isInFormer = fromBefore.has(parentOf(entry.path));
      if (there.has(entry.path) || !hasFolder(entry.path) || !isWanted(entry.path, isInFormer)) continue;
      if (entry.type === 'file' && !entry.chunks.every(isThere)) continue;
      if (entry.type === 'hardlink' && there.get(entry.target) !== 'file') continue;
      there.set(entry.path, entry.type);
      if (entry.type === 'directory') fromBefore.add(entry.path);
      found.push(entry);
    }
  });
  return found;
}

function parentOf(path: string): string {
  return splitPath(path).folder;
}
