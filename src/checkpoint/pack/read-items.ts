import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import type { BigIntStats } from 'node:fs';

import type { Clock } from '../../base/clock.ts';
import { isErrno } from '../../base/errors.ts';
import { chunkIdOf, createChunkHash } from '../format/chunk-id.ts';
import type { ChunkId, Cut, HashSpec } from '../format/chunk.ts';
import { fsPath, splitPath } from '../../base/files/path-name.ts';
import { FILE_FLAGS, openFoldersSync } from '../../base/files/beneath.ts';
import { statOf } from '../scan/file-stat.ts';
import { addChunk, addHole, createFoundRange } from './found-range.ts';
import type { FoundRange } from './found-range.ts';
import type { OpenPack, PackPurpose } from './open-pack.ts';
import type { Pace } from './pace.ts';
import type { ItemResult, SendItem } from './sender.ts';
import { nextData } from './sparse.ts';

/** Files from this size on don't share a pack with smaller ones. */
const SMALL_BYTES = 4 * 1024 ** 2;
/** What is read stays in the processor's cache until it is hashed: twice as fast as chunk by chunk. */
const PIECE_BYTES = 256 * 1024;
/** Of st_blocks; see stat(2). */
const STAT_BLOCK_BYTES = 512n;

/** What reading needs of whoever makes the packs. */
export interface ReadContext {
  readonly location: string;
  readonly hash: HashSpec;
  readonly cut: Cut;
  readonly compress: boolean;
  readonly clock: Clock;
  /** A pack with room for so many bytes more; undefined: wait for `room` first, and ask again. */
  packFor(this: void, purpose: PackPurpose, bytes: number): OpenPack | undefined;
  readonly pace: Pace;
}

type Steps = Generator<Promise<void>, void, void>;

/**
 * Reads one item after the other, and adds what became of it to `results`. Each promise that is yielded is to be waited
 * for before it goes on; between two of them files are read without a pause. Nothing that is wrong with a file ends it.
 */
export function* readItems(items: readonly SendItem[], context: ReadContext, results: ItemResult[]): Steps {
  const { location, pace, clock } = context;
  let folders = openFoldersSync(location);
  let stops = 0;
  try {
    for (const item of items) {
      // While it stood still, another folder may have got the place of one that is open.
      if (pace.stops !== stops) {
        folders[Symbol.dispose]();
        folders = openFoldersSync(location);
        stops = pace.stops;
      }
      let result: ItemResult;
      try {
        const { folder, name } = splitPath(item.path);
        const fd = openSync(fsPath(folders.at(folder), name), FILE_FLAGS);
        try {
          const reading = beginReading(fd, item, context);
          for (let wait = readMore(reading); wait !== undefined; wait = readMore(reading)) yield wait;
          result = endReading(reading);
        } finally {
          closeSync(fd);
        }
      } catch (error) {
        result = resultOf(error);
      }
      results.push(result);
      if (pace.isDue(0, clock.monotonicMs())) yield pace.turn();
    }
  } finally {
    folders[Symbol.dispose]();
  }
}

/** An open file that is being read. */
interface Reading {
  readonly fd: number;
  readonly item: SendItem;
  readonly context: ReadContext;
  readonly beganAt: number;
  readonly before: BigIntStats;
  readonly isSparse: boolean;
  readonly found: FoundRange;
  /** Read so far. */
  at: number;
}

function beginReading(fd: number, item: SendItem, context: ReadContext): Reading {
  const beganAt = context.clock.monotonicMs();
  const before = fstatSync(fd, { bigint: true });
  const isSparse = before.blocks * STAT_BLOCK_BYTES < before.size;
  return { fd, item, context, beganAt, before, isSparse, found: createFoundRange(item), at: item.from };
}

function endReading({ fd, found, beganAt, before }: Reading): ItemResult {
  if (!before.isFile()) return { kind: 'gone' };
  const after = fstatSync(fd, { bigint: true });
  const stat = statOf(before);
  const { chunks, packs, bytesNew } = found;
  return {
    kind: 'read',
    before: stat,
    // Nearly always they are one thing, which is half as much to keep and to tell.
    after: isSame(before, after) ? stat : statOf(after),
    isUnlinked: after.nlink === 0n,
    beganAt,
    chunks,
    packs,
    bytesNew,
  };
}

function isSame(one: BigIntStats, other: BigIntStats): boolean {
  return (
    one.mtimeNs === other.mtimeNs &&
    one.ctimeNs === other.ctimeNs &&
    one.size === other.size &&
    one.ino === other.ino &&
    one.dev === other.dev
  );
}

/** Reads on; answers what to wait for before it goes on, or undefined at the end. */
function readMore(reading: Reading): Promise<void> | undefined {
  const { fd, item, isSparse, found } = reading;
  const { packFor, cut, hash, compress, clock, pace } = reading.context;
  const { to, size } = item;
  if (!reading.before.isFile()) return undefined;
  const purpose = size < SMALL_BYTES ? 'small' : 'large';
  while (reading.at < to) {
    if (isSparse) {
      const hole = holeBytes(fd, reading.at, to, cut.chunkBytes);
      addHole(found, hole);
      reading.at += hole;
    }
    const { at } = reading;
    const wanted = Math.min(cut.chunkBytes - (at % cut.chunkBytes), to - at);
    if (wanted === 0) return undefined;
    const pack = packFor(purpose, wanted);
    if (pack === undefined) return pace.room();
    const { id, bytes } = readChunk(fd, at, pack.space(wanted), hash);
    addChunk(found, id, bytes, pack, compress);
    reading.at += bytes.length;
    // The file has become shorter.
    if (bytes.length < wanted) return undefined;
    if (pace.isDue(wanted, clock.monotonicMs()) && reading.at < to) return pace.turn();
  }
  return undefined;
}

/** How many bytes of whole chunks from `at` on are in a hole; a chunk that ends the file is a whole one, too. */
function holeBytes(fd: number, at: number, to: number, chunkBytes: number): number {
  const data = nextData(fd, at, to);
  if (data === at) return 0;
  // Which is not always where the hole ends: a file may have become shorter.
  if (data === to) return Math.max(Math.min(to, fstatSync(fd).size) - at, 0);
  return data - (data % chunkBytes) - at;
}

/** As much of the chunk as there is. */
function readChunk(
  fd: number,
  position: number,
  space: Buffer,
  spec: HashSpec,
): { readonly id: ChunkId; readonly bytes: Buffer } {
  let filled = readSync(fd, space, 0, Math.min(PIECE_BYTES, space.length), position);
  if (filled === space.length) return { id: chunkIdOf(space, spec), bytes: space };
  const hash = createChunkHash(spec);
  hash.update(space.subarray(0, filled));
  while (filled > 0 && filled < space.length) {
    const wanted = Math.min(PIECE_BYTES, space.length - filled);
    const count = readSync(fd, space, filled, wanted, position + filled);
    if (count === 0) break;
    hash.update(space.subarray(filled, filled + count));
    filled += count;
  }
  return { id: hash.digest(), bytes: space.subarray(0, filled) };
}

/** Throws what isn't the system's error. */
function resultOf(error: unknown): ItemResult {
  if (isErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO')) return { kind: 'gone' };
  if (!(error instanceof Error && 'syscall' in error)) throw error;
  // A system error has a code.
  const { code = 'unknown', message } = error as NodeJS.ErrnoException;
  return { kind: 'failed', errno: code, message };
}
