/** What a reading thread does for a restore; see read-thread.ts. */
import { readSync, writeSync } from 'node:fs';

import { blockIdOf, createBlockHash } from './block-id.ts';
import { pieceMemory } from './block-memory.ts';
import type { PlaceFrameJob, PlaceOrder, VerifyJob, VerifyResult } from './read-job.ts';
import { decompressFrame } from './zstd-frame.ts';

/** What is read stays in the processor's cache until it is hashed. */
const PIECE_BYTES = 256 * 1024;

const piece = pieceMemory(PIECE_BYTES);

/** Takes in content as it comes, writes it to its place, and checks it block by block. */
export interface Placer {
  /** Bytes that are still to come. */
  readonly left: number;
  /** The first block that was not what it should be; it is written all the same. */
  readonly wrong: number | undefined;
  /** Where the next bytes go: as many as fit, none when nothing is left. */
  space(): Uint8Array;
  /** So many bytes have been put there. Throws the system's error of the write. */
  placed(bytes: number): void;
}

export function createPlacer({ blocks, hashKey, lengths, bytes, fd, position }: PlaceOrder): Placer {
  const memory = pieceMemory(Math.min(PIECE_BYTES, bytes));
  let left = bytes;
  let wrong: number | undefined;
  let index = 0;
  let blockLeft = lengths[0] ?? 0;
  let hash = createBlockHash(hashKey);
  let filled = 0;
  const flush = () => {
    const part = memory.subarray(0, filled);
    hash.update(part);
    writeFully(fd, part, position + bytes - left - filled);
    filled = 0;
  };
  return {
    get left() {
      return left;
    },
    get wrong() {
      return wrong;
    },
    space: () => memory.subarray(filled, Math.min(memory.length, filled + blockLeft)),
    placed(count) {
      filled += count;
      blockLeft -= count;
      left -= count;
      if (filled === memory.length || blockLeft === 0) flush();
      if (blockLeft > 0) return;
      if (hash.digest() !== blocks[index]) wrong ??= index;
      index++;
      blockLeft = lengths[index] ?? 0;
      hash = createBlockHash(hashKey);
    },
  };
}

/** Writes a frame's content to its place, if that is what it should be. Throws the system's error. */
export function placeFrame({ frame, id, hashKey, length, fd, position }: PlaceFrameJob): boolean {
  const content = decompressFrame(frame, length);
  if (content === undefined || blockIdOf(content, hashKey) !== id) return false;
  writeFully(fd, content, position);
  return true;
}

/** Whether a block of an open file is what it should be. Throws the system's error. */
export function verifyBlock(job: VerifyJob): VerifyResult {
  const { fd, position, length, id, hashKey, copyTo } = job;
  const hash = createBlockHash(hashKey);
  for (let at = 0; at < length;) {
    const count = readSync(fd, piece, 0, Math.min(PIECE_BYTES, length - at), position + at);
    if (count === 0) return { kind: 'verified', isSame: false };
    const bytes = piece.subarray(0, count);
    hash.update(bytes);
    if (copyTo !== undefined) writeFully(copyTo, bytes, position + at);
    at += count;
  }
  return { kind: 'verified', isSame: hash.digest() === id };
}

function writeFully(fd: number, bytes: Uint8Array, position: number): void {
  for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at, bytes.length - at, position + at);
}
