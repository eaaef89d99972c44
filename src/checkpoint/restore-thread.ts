/** What a reading thread does for a restore; see read-thread.ts. */
import { createHash, hash } from 'node:crypto';
import { readSync, writeSync } from 'node:fs';

import type { PlaceFrameJob, PlaceJob, PlaceResult, VerifyJob, VerifyResult } from './read-job.ts';
import { decompressFrame } from './zstd-frame.ts';

/** What is read stays in the processor's cache until it is hashed. */
const PIECE_BYTES = 256 * 1024;

const ZEROS = Buffer.alloc(PIECE_BYTES);
const piece = Buffer.allocUnsafeSlow(PIECE_BYTES);

/** Writes content to its place, if all of its blocks are what they should be. Throws the system's error. */
export function placeBlocks({ content, blocks, lengths, fd, position }: PlaceJob): PlaceResult {
  const memory = content.buffer;
  let start = 0;
  for (const [index, id] of blocks.entries()) {
    const end = start + (lengths[index] ?? 0);
    if (content.length < end || hash('sha256', content.subarray(start, end), 'base64') !== id)
      return { kind: 'placed', wrong: index, memory };
    start = end;
  }
  writeFully(fd, content.subarray(0, start), position);
  return { kind: 'placed', wrong: undefined, memory };
}

/** Writes a frame's content to its place, if that is what it should be. Throws the system's error. */
export function placeFrame({ frame, id, length, fd, position }: PlaceFrameJob): boolean {
  const content = decompressFrame(frame, length);
  if (content === undefined || hash('sha256', content, 'base64') !== id) return false;
  writeFully(fd, content, position);
  return true;
}

/** Whether a block of an open file is what it should be; one of zeros isn't hashed. Throws the system's error. */
export function verifyBlock(job: VerifyJob): VerifyResult {
  const { fd, position, length, id, zeroId, copyTo } = job;
  const wantsZeros = id === zeroId;
  const sum = createHash('sha256');
  for (let at = 0; at < length;) {
    const count = readSync(fd, piece, 0, Math.min(PIECE_BYTES, length - at), position + at);
    if (count === 0) return { kind: 'verified', isSame: false };
    const bytes = piece.subarray(0, count);
    if (!wantsZeros) sum.update(bytes);
    else if (ZEROS.compare(bytes, 0, count, 0, count) !== 0) return { kind: 'verified', isSame: false };
    if (copyTo !== undefined) writeFully(copyTo, bytes, position + at);
    at += count;
  }
  return { kind: 'verified', isSame: wantsZeros || sum.digest('base64') === id };
}

function writeFully(fd: number, bytes: Uint8Array, position: number): void {
  for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at, bytes.length - at, position + at);
}
