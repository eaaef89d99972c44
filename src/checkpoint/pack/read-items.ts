import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

import type { Clock } from '../../base/clock.ts';
import { isErrno } from '../../base/errors.ts';
import { createChunkHash } from '../format/chunk-id.ts';
import type { ChunkId, Cut, HashSpec } from '../format/chunk.ts';
import { fsPath, splitPath } from '../format/path-name.ts';
import { FILE_FLAGS, openFoldersSync } from '../scan/beneath.ts';
import { sameStat, statOf } from '../scan/file-stat.ts';
import { createFoundRange } from './found-range.ts';
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

type Steps<Result = void> = Generator<Promise<void>, Result, void>;

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
          result = yield* readOpen(fd, item, context);
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

function* readOpen(fd: number, item: SendItem, context: ReadContext): Steps<ItemResult> {
  const beganAt = context.clock.monotonicMs();
  const before = fstatSync(fd, { bigint: true });
  if (!before.isFile()) return { kind: 'gone' };
  const found = createFoundRange(item);
  const isSparse = before.blocks * STAT_BLOCK_BYTES < before.size;
  yield* readRange(fd, isSparse, found, item, context);
  const after = fstatSync(fd, { bigint: true });
  const [statBefore, statAfter] = [statOf(before), statOf(after)];
  return {
    kind: 'read',
    before: statBefore,
    // Nearly always they are one thing, which is half as much to keep and to tell.
    after: sameStat(statBefore, statAfter) ? statBefore : statAfter,
    isUnlinked: after.nlink === 0n,
    beganAt,
    chunks: found.chunks,
    packs: found.packs,
    bytesNew: found.bytesNew,
  };
}

function* readRange(
  fd: number,
  isSparse: boolean,
  found: FoundRange,
  { from, to, size }: SendItem,
  { packFor, cut: { chunkBytes }, hash, compress, clock, pace }: ReadContext,
): Steps {
  const purpose = size < SMALL_BYTES ? 'small' : 'large';
  for (let at = from; at < to;) {
    const hole = isSparse ? holeBytes(fd, at, to, chunkBytes) : 0;
    found.addHole(hole);
    at += hole;
    const wanted = Math.min(chunkBytes - (at % chunkBytes), to - at);
    if (wanted === 0) return;
    let pack = packFor(purpose, wanted);
    for (; pack === undefined; pack = packFor(purpose, wanted)) yield pace.room();
    const { id, bytes } = readChunk(fd, at, pack.space(wanted), hash);
    found.add(id, bytes, pack, compress);
    at += bytes.length;
    // The file has become shorter.
    if (bytes.length < wanted) return;
    if (pace.isDue(wanted, clock.monotonicMs()) && at < to) yield pace.turn();
  }
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
  const hash = createChunkHash(spec);
  let filled = 0;
  while (filled < space.length) {
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
