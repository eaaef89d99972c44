import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';

import { forEachLimit } from '../base/concurrency.ts';
import type { Gate } from '../base/concurrency.ts';
import { AssertionFailed } from '../base/assert.ts';
import { EvictdError } from '../base/errors.ts';
import { blockIdOf } from './block-id.ts';
import { blockLength } from './block-size.ts';
import { quotePath } from './path-name.ts';
import type { ReadResult } from './read-job.ts';
import type { Reader } from './reader.ts';
import type { ManifestFile } from './schema.ts';
import type { BlobStore } from './store.ts';
import type { ZeroIds } from './zero-block.ts';

export interface BlockContext {
  /** `PREFIX/KEY/SET/`. */
  readonly prefix: string;
  readonly store: BlobStore;
  /** Bounds requests and bytes in memory over all files. */
  readonly gate: Gate;
  readonly zeroIds: ZeroIds;
  readonly reader: Reader;
  /** Memory of PIECE_BYTES_MAX each, to be used again; as many as are in the gate at once. */
  readonly spare: ArrayBuffer[];
  readonly onBytes: (bytes: number, from: 'store' | 'disk') => void;
}

/** At most this much of a file is in one request and in memory at once; larger blocks are moved in pieces of it. */
export const PIECE_BYTES_MAX = 8 * 1024 ** 2;
/** Below this handing it to a thread costs more than it saves. */
const THREAD_BYTES_MIN = 256 * 1024;
export const RUNS_IN_FLIGHT = 8;
const LOCAL_BLOCKS_IN_FLIGHT = 4;

/** Neighbouring blocks that are fetched by one request. */
interface Run {
  readonly first: number;
  readonly count: number;
  readonly bytes: number;
}

/**
 * Fetches the blocks `missing` of a file (in order) and writes each to its place after checking it against its hash;
 * a block larger than a piece is checked after that. Blocks of zeros have to be left out by the caller.
 * Rejects `corrupt-block`, `checkpoint-gone`, the system's error of a write, or what the store rejects with.
 */
export async function fetchBlocks(
  context: BlockContext,
  file: ManifestFile,
  missing: readonly number[],
  handle: FileHandle,
  signal: AbortSignal,
): Promise<void> {
  await forEachLimit(runsOf(file, missing), RUNS_IN_FLIGHT, signal, async (run, inner) => {
    if (run.bytes > PIECE_BYTES_MAX) {
      await fetchInPieces(context, file, run, handle, inner);
      return;
    }
    using _place = await context.gate.enter(run.bytes, inner);
    const offset = run.first * file.blockSize;
    const into =
      run.bytes < THREAD_BYTES_MIN ? undefined : (context.spare.pop() ?? new ArrayBuffer(PIECE_BYTES_MAX));
    const content = await readStored(context, file, { offset, count: run.bytes }, into, inner);
    const wrong = await place(context, file, run, content, handle);
    if (wrong !== undefined) throw corrupt(context, file, wrong);
    context.onBytes(run.bytes, 'store');
  });
}

/**
 * Which blocks of `local` are those that the manifest names, wherever they can be the same.
 * Rejects with the system's error of a read.
 */
export async function sameBlocksOf(
  context: BlockContext,
  file: ManifestFile,
  local: { readonly handle: FileHandle; readonly size: number },
  signal: AbortSignal,
): Promise<ReadonlySet<number>> {
  const same = new Set<number>();
  await forEachLimit(file.blocks.keys(), LOCAL_BLOCKS_IN_FLIGHT, signal, async (index, inner) => {
    const length = blockLength(file.size, file.blockSize, index);
    if (index * file.blockSize + length > local.size) return;
    inner.throwIfAborted();
    if (await isLocally(context, file, index, local.handle)) same.add(index);
  });
  return same;
}

/** Copies blocks from `local`; answers those that are not what they were any more. */
export async function copyBlocks(
  context: BlockContext,
  file: ManifestFile,
  indexes: Iterable<number>,
  local: FileHandle,
  handle: FileHandle,
  signal: AbortSignal,
): Promise<readonly number[]> {
  const changed: number[] = [];
  await forEachLimit(indexes, LOCAL_BLOCKS_IN_FLIGHT, signal, async (index, inner) => {
    inner.throwIfAborted();
    const isSame = await isLocally(context, file, index, local, handle);
    if (isSame) context.onBytes(blockLength(file.size, file.blockSize, index), 'disk');
    else changed.push(index);
  });
  return changed;
}

/**
 * Blocks of the file that hold only zeros, by their ids. What ends a file is only looked at after such a block:
 * working out the id for its length costs as much as hashing it.
 */
export function zeroBlocksOf({ zeroIds }: BlockContext, file: ManifestFile): ReadonlySet<number> {
  const zero = new Set<number>();
  const last = file.blocks.length - 1;
  for (const [index, id] of file.blocks.entries()) {
    const length = blockLength(file.size, file.blockSize, index);
    const isLikely = length === file.blockSize ? last > 0 : zero.has(index - 1);
    if (isLikely && id === zeroIds(length)) zero.add(index);
  }
  return zero;
}

/** Checks and writes what was fetched; answers the first block that is wrong. The content may be gone then. */
async function place(
  { reader, spare }: BlockContext,
  file: ManifestFile,
  run: Run,
  content: Uint8Array,
  handle: FileHandle,
): Promise<number | undefined> {
  const indexes = Array.from({ length: run.count }, (_, at) => run.first + at);
  const blocks = indexes.map((index) => file.blocks[index] ?? '');
  const lengths = indexes.map((index) => blockLength(file.size, file.blockSize, index));
  const position = run.first * file.blockSize;
  const { buffer } = content;
  // A part of memory that others use too can't move to a thread.
  const isOwn = buffer instanceof ArrayBuffer && buffer.byteLength >= THREAD_BYTES_MIN;
  if (!isOwn || content.byteOffset !== 0) {
    let start = 0;
    for (const [at, id] of blocks.entries()) {
      const block = content.subarray(start, (start += lengths[at] ?? 0));
      if (block.length !== lengths[at] || blockIdOf(block) !== id) return run.first + at;
    }
    await writeFully(handle, content, position);
    return undefined;
  }
  const moved = new Uint8Array(buffer, 0, content.length);
  const result = await reader.run({
    kind: 'place',
    content: moved,
    blocks,
    lengths,
    fd: handle.fd,
    position,
  });
  if (result.kind !== 'placed') throw errorOf(result);
  if (result.memory.byteLength === PIECE_BYTES_MAX) spare.push(result.memory);
  return result.wrong === undefined ? undefined : run.first + result.wrong;
}

/** Whether a block on disk is the manifest's; it is copied to `copyTo`, which may then hold what is wrong. */
async function isLocally(
  { reader, zeroIds }: BlockContext,
  file: ManifestFile,
  index: number,
  { fd }: FileHandle,
  copyTo?: FileHandle,
): Promise<boolean> {
  const length = blockLength(file.size, file.blockSize, index);
  const result = await reader.run({
    kind: 'verify',
    fd,
    position: index * file.blockSize,
    length,
    id: file.blocks[index] ?? '',
    ...(length === file.blockSize && { zeroId: zeroIds(length) }),
    ...(copyTo !== undefined && { copyTo: copyTo.fd }),
  });
  if (result.kind !== 'verified') throw errorOf(result);
  return result.isSame;
}

export function errorOf(result: ReadResult): Error {
  if (result.kind !== 'failed') throw new AssertionFailed(`a thread answered ${result.kind}`);
  return Object.assign(new Error(result.message), { code: result.errno });
}

async function fetchInPieces(
  context: BlockContext,
  file: ManifestFile,
  { first, bytes }: Run,
  handle: FileHandle,
  signal: AbortSignal,
): Promise<void> {
  const hash = createHash('sha256');
  const start = first * file.blockSize;
  for (let at = 0; at < bytes; at += PIECE_BYTES_MAX) {
    const length = Math.min(PIECE_BYTES_MAX, bytes - at);
    using _place = await context.gate.enter(length, signal);
    const piece = await readStored(context, file, { offset: start + at, count: length }, undefined, signal);
    if (piece.length !== length) throw corrupt(context, file, first);
    hash.update(piece);
    await writeFully(handle, piece, start + at);
    context.onBytes(length, 'store');
  }
  if (hash.digest('base64') !== file.blocks[first]) throw corrupt(context, file, first);
}

function* runsOf(file: ManifestFile, missing: readonly number[]): Generator<Run> {
  let run: Run | undefined;
  for (const index of missing) {
    const bytes = blockLength(file.size, file.blockSize, index);
    if (run !== undefined && run.first + run.count === index && run.bytes + bytes <= PIECE_BYTES_MAX) {
      run = { first: run.first, count: run.count + 1, bytes: run.bytes + bytes };
      continue;
    }
    if (run !== undefined) yield run;
    run = { first: index, count: 1, bytes };
  }
  if (run !== undefined) yield run;
}

export async function readStored(
  context: BlockContext,
  file: ManifestFile,
  range: { readonly offset: number; readonly count: number },
  into: ArrayBuffer | undefined,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const { snapshot } = file;
  try {
    return await context.store.read(
      context.prefix + file.blob,
      { snapshot, range, bytesMax: range.count, ...(into !== undefined && { into }) },
      signal,
    );
  } catch (error) {
    if (!(error instanceof EvictdError) || error.code !== 'not-found') throw error;
    throw new EvictdError(
      'checkpoint-gone',
      `${quotePath(file.path)} is not in the store any more (${context.prefix}${file.blob}, snapshot ${snapshot})`,
      { remedy: 'it was pruned meanwhile: restore again, or another checkpoint with --at', cause: error },
    );
  }
}

async function writeFully(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const { bytesWritten } = await handle.write(bytes, at, bytes.length - at, position + at);
    at += bytesWritten;
  }
}

export function corrupt(context: BlockContext, file: ManifestFile, index: number): EvictdError {
  return new EvictdError(
    'corrupt-block',
    `block ${index} of ${quotePath(file.path)} (${context.prefix}${file.blob}, snapshot ${file.snapshot}) does not have the content that its checkpoint says`,
    { remedy: 'restore an older checkpoint with --at; evictd checkpoints lists them' },
  );
}
