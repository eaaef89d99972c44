import { AssertionFailed } from '../../base/assert.ts';
import { type FileChunk, type PackName, isStored } from '../format/chunk.ts';
import type { ItemResult, SendItem } from '../pack/sender.ts';
import type { FileStat } from '../scan/file-stat.ts';

/*
 * What is asked and answered of hundreds of files at once, as columns: to copy an object for each to another thread, with
 * all that is in it, takes longer than to read a small file.
 */

/** Lists of chunks, one after the other. */
interface WireChunks {
  /** How many there are in each list. */
  readonly counts: Uint32Array;
  /** Of each: plain and stored length, offset, and its pack's place in `packs`, or -1 for a hole. */
  readonly places: Float64Array;
  /** Of those that aren't holes, each ended by a comma. */
  readonly ids: string;
  readonly packs: readonly PackName[];
}

export interface WireItems extends WireChunks {
  /** Each ended by NUL, which no path has. */
  readonly paths: string;
  /** From, to and size of each. */
  readonly ranges: Float64Array;
}

export interface WireResults extends WireChunks {
  /** By index, those that weren't read; in the columns they are nothing. */
  readonly others: ReadonlyMap<number, Exclude<ItemResult, { kind: 'read' }>>;
  /** Before the reading: size, mtimeNs, ctimeNs, ino and dev of each, as a scan has them. */
  readonly stats: BigInt64Array;
  /** After it, where that is something else. */
  readonly after: ReadonlyMap<number, FileStat>;
  readonly unlinked: ReadonlySet<number>;
  /** Of each: when the reading began, and bytes that are new. */
  readonly readings: Float64Array;
  /** Of each: packs that new chunks are in. */
  readonly newPacks: readonly (readonly PackName[])[];
}

type Read = ItemResult & { readonly kind: 'read' };

const RANGE = 3;
const PLACE = 4;
const STAT = 5;
const READING = 2;

export function toWireItems(items: readonly SendItem[]): WireItems {
  const ranges = new Float64Array(items.length * RANGE);
  let paths = '';
  for (const [index, { path, from, to, size }] of items.entries()) {
    paths += `${path}\0`;
    ranges.set([from, to, size], index * RANGE);
  }
  return { paths, ranges, ...toWireChunks(items.map(({ known }) => known)) };
}

export function fromWireItems({ paths, ranges, ...chunks }: WireItems): readonly SendItem[] {
  const known = chunkLists(chunks);
  return paths
    .split('\0')
    .slice(0, -1)
    .map((path, index) => {
      const [from = 0, to = 0, size = 0] = ranges.subarray(index * RANGE, (index + 1) * RANGE);
      return { path, from, to, size, known: known.next() };
    });
}

const NO_CHUNKS: readonly FileChunk[] = [];
const NO_PACKS: readonly PackName[] = [];

export function toWireResults(results: readonly ItemResult[]): WireResults {
  const others = new Map<number, Exclude<ItemResult, Read>>();
  const after = new Map<number, FileStat>();
  const unlinked = new Set<number>();
  const stats = new BigInt64Array(results.length * STAT);
  const readings = new Float64Array(results.length * READING);
  for (const [index, result] of results.entries()) {
    if (result.kind !== 'read') {
      others.set(index, result);
      continue;
    }
    const { size, mtimeNs, ctimeNs, ino, dev } = result.before;
    stats.set([BigInt(size), mtimeNs, ctimeNs, ino, dev], index * STAT);
    readings.set([result.beganAt, result.bytesNew], index * READING);
    if (result.after !== result.before) after.set(index, result.after);
    if (result.isUnlinked) unlinked.add(index);
  }
  const lists = results.map((result) => (result.kind === 'read' ? result.chunks : NO_CHUNKS));
  const newPacks = results.map((result) => (result.kind === 'read' ? result.packs : NO_PACKS));
  return { others, stats, after, unlinked, readings, newPacks, ...toWireChunks(lists) };
}

export function fromWireResults(wire: WireResults): readonly ItemResult[] {
  const { others, stats, after, unlinked, readings, newPacks } = wire;
  const chunks = chunkLists(wire);
  const stat = statReader(stats);
  return newPacks.map((packs, index): ItemResult => {
    const list = chunks.next();
    const other = others.get(index);
    if (other !== undefined) return other;
    const before = stat(index);
    const [beganAt = 0, bytesNew = 0] = readings.subarray(index * READING, (index + 1) * READING);
    return {
      kind: 'read',
      before,
      after: after.get(index) ?? before,
      isUnlinked: unlinked.has(index),
      beganAt,
      chunks: list,
      packs,
      bytesNew,
    };
  });
}

/** Values that many files have in common are made once: of a million files that is much memory. */
function statReader(stats: BigInt64Array): (index: number) => FileStat {
  let lastDev = 0n;
  return (index) => {
    const at = index * STAT;
    const mtimeNs = stats[at + 1] ?? 0n;
    const ctimeNs = stats[at + 2] ?? 0n;
    const dev = stats[at + 4] ?? 0n;
    if (dev !== lastDev) lastDev = dev;
    return {
      size: Number(stats[at]),
      mtimeNs,
      ctimeNs: ctimeNs === mtimeNs ? mtimeNs : ctimeNs,
      ino: stats[at + 3] ?? 0n,
      dev: lastDev,
    };
  };
}

function toWireChunks(lists: readonly (readonly FileChunk[])[]): WireChunks {
  const counts = Uint32Array.from(lists, ({ length }) => length);
  const places = new Float64Array(counts.reduce((sum, count) => sum + count, 0) * PLACE);
  const packs: PackName[] = [];
  let ids = '';
  let at = 0;
  for (const list of lists) {
    for (const chunk of list) {
      if (isStored(chunk)) {
        // Nearly always it is the last one, and there are few.
        let pack = packs.lastIndexOf(chunk.pack);
        if (pack === -1) pack = packs.push(chunk.pack) - 1;
        places[at + 1] = chunk.stored;
        places[at + 2] = chunk.offset;
        places[at + 3] = pack;
        ids += `${chunk.id},`;
      } else places[at + 3] = -1;
      places[at] = chunk.plain;
      at += PLACE;
    }
  }
  return { counts, places, ids, packs };
}

/** Gives one list after the other. */
function chunkLists({ counts, places, ids, packs }: WireChunks): { next(): readonly FileChunk[] } {
  const all = ids.split(',').values();
  let list = 0;
  let at = 0;
  const nextChunk = (): FileChunk => {
    const [plain = 0, stored = 0, offset = 0, index = -1] = places.subarray(at, (at += PLACE));
    if (index === -1) return { plain };
    const [pack, { value: id }] = [packs[index], all.next()];
    if (pack === undefined || id === undefined) throw new AssertionFailed('a chunk without pack or id');
    return { id, plain, pack, offset, stored };
  };
  return {
    next() {
      const count = counts[list++] ?? 0;
      if (count === 0) return NO_CHUNKS;
      return Array.from({ length: count }, nextChunk);
    },
  };
}
