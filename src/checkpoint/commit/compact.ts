import { forEachInSlices } from '../../base/slices.ts';
import { type FileChunk, type PackName, isStored } from '../format/chunk.ts';
import { packEndBytes } from '../format/pack-table.ts';
import { sameStat } from '../scan/file-stat.ts';
import type { ScannedFile } from '../scan/scanned.ts';
import { LOST_ID, isWhole } from '../index/record.ts';
import type { SetWork } from './set-work.ts';
import type { FileRequest } from './send/file-parts.ts';

/*
 * Packs are never changed, so one of which files need only a part goes on taking its whole room. What is needed of such
 * packs is sent anew, from disk, in the background; once a checkpoint has been made with that, pruning removes them.
 * Nothing is ever fetched for it, and a record moves to the new places only once those are stored.
 */

export interface PackNeed {
  readonly bytes: number;
  /** Of chunks that records have in it, with their rows in its table: all of `bytes` in a pack that was just made. */
  used: number;
}

/** As long as less than half of what is stored is of no use, it is left alone. */
const WASTE_MAX = 2;
/** More packs under half of their size than this are merged. */
const SHORT_PACKS_MAX = 32;
/** Sent anew in one pass. */
const PASS_BYTES = 64 * 1024 ** 2;

/** The packs that are to be given up, out of what each pack holds. */
export function packsToGiveUp(
  packs: ReadonlyMap<PackName, PackNeed>,
  packBytes: number,
): ReadonlySet<PackName> {
  const all = [...packs];
  const stored = all.reduce((sum, [, { bytes }]) => sum + bytes, 0);
  const used = all.reduce((sum, [, need]) => sum + need.used, 0);
  const sparse = all
    .filter(([, need]) => need.used < need.bytes / 2)
    .toSorted(([, one], [, other]) => one.used / one.bytes - other.used / other.bytes);
  const short = all.filter(([, { bytes }]) => bytes < packBytes / 2);
  const chosen = [
    ...(stored > WASTE_MAX * used ? sparse : []),
    ...(short.length > SHORT_PACKS_MAX ? short : []),
  ];
  const given = new Set<PackName>();
  let bytes = 0;
  for (const [name, need] of chosen) {
    if (bytes + need.used > PASS_BYTES && given.size > 0) break;
    given.add(name);
    bytes += need.used;
  }
  return given;
}

/** What is to be read of `files` so that packs can be given up; nothing where that isn't worth it. */
export async function compaction(
  { index, packs }: SetWork,
  files: readonly ScannedFile[],
  signal: AbortSignal,
): Promise<readonly FileRequest[]> {
  const needs = new Map<PackName, PackNeed>();
  const count = (chunk: FileChunk) => {
    if (!isStored(chunk) || chunk.id === LOST_ID) return;
    const need = needs.get(chunk.pack) ?? { bytes: packs.bytesOf(chunk.pack) ?? 0, used: packEndBytes(0) };
    need.used += chunk.stored + packEndBytes(1) - packEndBytes(0);
    needs.set(chunk.pack, need);
  };
  await forEachInSlices(index.files.values(), ({ chunks }) => chunks.forEach(count), signal);
  const given = packsToGiveUp(needs, index.cut.packBytes);
  if (given.size === 0) return [];
  const requests: FileRequest[] = [];
  const ask = ({ path, stat }: ScannedFile) => {
    const record = index.files.get(path);
    if (record === undefined || !isWhole(record) || !sameStat(record.stat, stat)) return;
    const request = requestFor(path, record.chunks, given);
    if (request !== undefined) requests.push(request);
  };
  await forEachInSlices(files, ask, signal);
  return requests;
}

/** One run of chunks from the first to the last that is to be moved, no longer than a pass is. */
function requestFor(
  path: string,
  chunks: readonly FileChunk[],
  given: ReadonlySet<PackName>,
): FileRequest | undefined {
  let position = 0;
  let from = -1;
  let to = 0;
  const known = chunks.map((chunk) => {
    const at = position;
    position += chunk.plain;
    if (!isStored(chunk) || !given.has(chunk.pack)) return chunk;
    if (from === -1) from = at;
    if (position - from > PASS_BYTES) return chunk;
    to = position;
    return { ...chunk, id: LOST_ID };
  });
  return from === -1 ? undefined : { path, from, to, known };
}
