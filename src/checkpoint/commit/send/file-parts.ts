import { AssertionFailed } from '../../../base/assert.ts';
import { type Cut, type FileChunk, isStored } from '../../format/chunk.ts';
import { mergeHoles } from '../../index/chunk-range.ts';
import type { ItemResult, SendItem } from '../../pack/sender.ts';
import { sameStat } from '../../scan/file-stat.ts';

/** A file that is to be read, and of which the store is to have what it holds. */
export interface FileRequest {
  readonly path: string;
  /** Read from here, a multiple of the chunk size; 0 for all of it. */
  readonly from: number;
  /** Read no further; as long as it was when it was looked at. */
  readonly to: number;
  /** What it held before, from byte 0 on. */
  readonly known: readonly FileChunk[];
  /** `known` was read a moment ago, and needn't be stored yet. */
  readonly isAgain?: boolean;
}

/** What reading from `from` on gave; whether the store has it is known by then. */
export type Reading =
  | Omit<Extract<ItemResult, { kind: 'read' }>, 'packs'>
  | Exclude<ItemResult, { kind: 'read' }>;

/** What is read as one part: a pack's worth of small files, or a stretch of a large one. */
const PART_FILES_MAX = 500;
const PART_BYTES = 8 * 1024 ** 2;
const STRETCH_BYTES_MIN = 32 * 1024 ** 2;
/** So many stretches at most make up a file, however long its holes are. */
const STRETCHES_MAX = 1024;

/** What a thread reads at once. */
interface Part<Request> {
  readonly requests: Request[];
  /** One of each request. */
  readonly items: SendItem[];
  bytes: number;
}

/** Small files together, large ones in stretches; in the order of `files`. */
export function* partsOf<Request extends FileRequest>(
  files: Iterable<Request>,
  cut: Cut,
): Iterable<Part<Request>> {
  const newPart = (): Part<Request> => ({ requests: [], items: [], bytes: 0 });
  const add = (one: Part<Request>, request: Request, from: number, to: number) => {
    one.requests.push(request);
    const known = knownIn(request.known, from, to, cut);
    one.items.push({ path: request.path, from, to, size: request.to, known });
    one.bytes += to - from;
    return one;
  };
  let part = newPart();
  for (const request of files) {
    const { from, to } = request;
    const isSmall = to - from <= PART_BYTES / 2;
    const isFull = !isSmall || part.items.length === PART_FILES_MAX || part.bytes + to - from > PART_BYTES;
    if (isFull && part.items.length > 0) {
      yield part;
      part = newPart();
    }
    if (isSmall) {
      add(part, request, from, to);
      continue;
    }
    const stretch = stretchBytes(request, cut);
    for (let start = from; start < to; start += stretch)
      yield add(newPart(), request, start, Math.min(start + stretch, to));
  }
  if (part.items.length > 0) yield part;
}

/** The item is all that is asked for. */
export function isWholeOf({ from, to }: SendItem, request: FileRequest): boolean {
  return from === request.from && to === request.to;
}

interface Stretch {
  readonly from: number;
  readonly result: ItemResult;
}

/** Files of which several stretches are read, by several threads: told of once there are all. */
export function createStretches<Request extends FileRequest>(
  cut: Cut,
  onReading: (request: Request, reading: Reading) => void,
) {
  const found = new Map<Request, readonly Stretch[]>();
  return {
    add(request: Request, from: number, result: ItemResult) {
      const before = found.get(request) ?? [];
      const isOver = before.some((one) => one.result.kind !== 'read');
      const all = [...before, { from, result }];
      found.set(request, all);
      if (isOver) return;
      // What can't be had at one place can't be had at all: the rest of it needn't be waited for.
      if (result.kind !== 'read') onReading(request, result);
      else if (all.length === stretchCount(request, cut)) onReading(request, combined(all));
    },
  };
}

function stretchBytes({ from, to }: FileRequest, { chunkBytes }: Cut): number {
  const least = Math.max(STRETCH_BYTES_MIN, chunkBytes, (to - from) / STRETCHES_MAX);
  return Math.ceil(least / chunkBytes) * chunkBytes;
}

function stretchCount(request: FileRequest, cut: Cut): number {
  return Math.max(1, Math.ceil((request.to - request.from) / stretchBytes(request, cut)));
}

/** Chunks of the byte range, a hole cut as content would be. */
function knownIn(
  chunks: readonly FileChunk[],
  from: number,
  to: number,
  { chunkBytes }: Cut,
): readonly FileChunk[] {
  // Most files have no chunks yet, or one.
  if (chunks.length === 0 || (chunks.length === 1 && from === 0 && chunks.every(isStored))) return chunks;
  const found: FileChunk[] = [];
  let position = 0;
  for (const chunk of chunks) {
    const end = position + chunk.plain;
    if (position >= to) break;
    if (end > from) {
      if (isStored(chunk)) found.push(chunk);
      else
        for (let at = Math.max(position, from); at < Math.min(end, to); at += chunkBytes)
          found.push({ plain: Math.min(chunkBytes, end - at) });
    }
    position = end;
  }
  return found;
}

/** Of stretches of one file, read by several threads, the whole. */
function combined(found: readonly Stretch[]): Reading {
  const results: (ItemResult & { kind: 'read' })[] = [];
  for (const { result } of found.toSorted((one, other) => one.from - other.from)) {
    if (result.kind !== 'read') return result;
    results.push(result);
  }
  const [first] = results;
  if (first === undefined) throw new AssertionFailed('a file was read in no stretch');
  const { before } = first;
  // Whatever differs anywhere was written to in between, or another file had the name by then. That the last name was
  // lost is nothing of that, and must not hide it.
  const stats = results.flatMap((one) => [
    one.before,
    one.isUnlinked ? { ...one.after, ctimeNs: one.before.ctimeNs } : one.after,
  ]);
  const after = stats.find((stat) => !sameStat(stat, before)) ?? before;
  return {
    kind: 'read',
    before,
    after,
    isUnlinked: false,
    beganAt: Math.min(...results.map(({ beganAt }) => beganAt)),
    chunks: mergeHoles(results.flatMap(({ chunks }) => chunks)),
    bytesNew: results.reduce((sum, { bytesNew }) => sum + bytesNew, 0),
  };
}
