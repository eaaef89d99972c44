import { readSync } from 'node:fs';

import { reasonOf } from '../../base/abort.ts';
import { errnoOf } from '../../base/errors.ts';
import { createChunkHash, isZero } from '../format/chunk-id.ts';
import { isStored } from '../format/chunk.ts';
import type { FileChunk, HashSpec } from '../format/chunk.ts';
import { writeFully } from './fetch-chunks.ts';
import { nextData } from './sparse.ts';

/** Do open files hold what a checkpoint says? All of it is read, whatever their times say. */
export interface CompareOrder {
  readonly hash: HashSpec;
  readonly parts: readonly ComparePart[];
}

export interface ComparePart {
  readonly chunk: FileChunk;
  /** Open for reading, and the byte in it where the chunk begins. */
  readonly fd: number;
  readonly position: number;
  /** A file to copy it to, at the same position. What turns out wrong is written there all the same; holes are not. */
  readonly copyTo?: number;
}

/** Indexes into `parts` of those that hold something else, or can't be read. */
export interface CompareResult {
  readonly wrong: readonly number[];
}

/** What is read stays in the processor's cache until it is hashed. */
const PIECE_BYTES = 256 * 1024;
/** After so much, others on this thread get their turn. */
const TURN_BYTES = 2 * 1024 ** 2;

/** Rejects with the signal's reason, or with an EvictdError that has the system's code for what can't be written. */
export async function compareFile(
  { hash, parts }: CompareOrder,
  signal: AbortSignal,
): Promise<CompareResult> {
  const memory = Buffer.allocUnsafeSlow(PIECE_BYTES);
  const wrong: number[] = [];
  let sinceTurn = 0;
  for (const [index, part] of parts.entries()) {
    const steps = isStored(part.chunk)
      ? chunkSteps(part, part.chunk.id, hash, memory)
      : holeSteps(part, memory);
    let isSame = true;
    for (const { bytes, isWrong } of steps) {
      if (isWrong) isSame = false;
      sinceTurn += bytes;
      if (sinceTurn < TURN_BYTES) continue;
      sinceTurn = 0;
      await new Promise((resolve) => setImmediate(resolve));
      if (signal.aborted) throw reasonOf(signal);
    }
    if (!isSame) wrong.push(index);
  }
  return { wrong };
}

interface Step {
  /** That were looked at. */
  readonly bytes: number;
  readonly isWrong: boolean;
}

function* chunkSteps(
  { fd, position, chunk: { plain }, copyTo }: ComparePart,
  id: string,
  hash: HashSpec,
  memory: Buffer,
): Generator<Step> {
  const chunkHash = createChunkHash(hash);
  for (let at = 0; at < plain;) {
    const bytes = readPart(fd, memory.subarray(0, Math.min(PIECE_BYTES, plain - at)), position + at);
    if (bytes.length === 0) {
      yield { bytes: 0, isWrong: true };
      return;
    }
    chunkHash.update(bytes);
    if (copyTo !== undefined) writeFully(copyTo, bytes, position + at);
    at += bytes.length;
    yield { bytes: bytes.length, isWrong: at === plain && chunkHash.digest() !== id };
  }
}

function* holeSteps({ fd, position, chunk: { plain } }: ComparePart, memory: Buffer): Generator<Step> {
  const end = position + plain;
  for (let at = position; ;) {
    at = nextData(fd, at, end);
    if (at >= end) return;
    const bytes = readPart(fd, memory.subarray(0, Math.min(PIECE_BYTES, end - at)), at);
    const isWrong = bytes.length === 0 || !isZero(bytes);
    yield { bytes: bytes.length, isWrong };
    if (isWrong) return;
    at += bytes.length;
  }
}

/** Nothing: the file ends before, or can't be read there. */
function readPart(fd: number, memory: Buffer, position: number): Buffer {
  try {
    return memory.subarray(0, readSync(fd, memory, 0, memory.length, position));
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return memory.subarray(0, 0);
  }
}
