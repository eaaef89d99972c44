import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';

import { forEachLimit } from '../base/concurrency.ts';
import type { Gate } from '../base/concurrency.ts';
import { EvictdError } from '../base/errors.ts';
import { blockIdOf } from './block-id.ts';
import { blockLength } from './block-size.ts';
import { quotePath } from './path-name.ts';
import type { ManifestFile } from './schema.ts';
import type { BlobStore } from './store.ts';
import type { ZeroBlocks } from './zero-block.ts';

export interface BlockContext {
  /** `PREFIX/KEY/SET/`. */
  readonly prefix: string;
  readonly store: BlobStore;
  /** Bounds requests and bytes in memory over all files. */
  readonly gate: Gate;
  readonly zeroBlocks: ZeroBlocks;
  readonly onBytes: (bytes: number, from: 'store' | 'disk') => void;
}

/** At most this much of a file is in one request and in memory at once; larger blocks are moved in pieces of it. */
export const PIECE_BYTES_MAX = 8 * 1024 ** 2;
const RUNS_IN_FLIGHT = 8;
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
    const content = await readStored(context, file, offset, run.bytes, inner);
    let at = 0;
    for (let index = run.first; index < run.first + run.count; index++) {
      const length = blockLength(file.size, file.blockSize, index);
      const block = content.subarray(at, at + length);
      if (block.length !== length || blockIdOf(block) !== file.blocks[index])
        throw corrupt(context, file, index);
      at += length;
    }
    await writeFully(handle, content, offset);
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
  await forEachLimit(file.blocks.entries(), LOCAL_BLOCKS_IN_FLIGHT, signal, async ([index, id], inner) => {
    const length = blockLength(file.size, file.blockSize, index);
    if (index * file.blockSize + length > local.size) return;
    if ((await readLocalBlock(context, file, index, local.handle, inner)) === id) same.add(index);
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
    const id = await readLocalBlock(context, file, index, local, inner, async (piece, position) => {
      await writeFully(handle, piece, position);
    });
    if (id === file.blocks[index]) context.onBytes(blockLength(file.size, file.blockSize, index), 'disk');
    else changed.push(index);
  });
  return changed;
}

/** Blocks of the file that hold only zeros, by their ids. */
export function zeroBlocksOf({ zeroBlocks }: BlockContext, file: ManifestFile): ReadonlySet<number> {
  const zero = new Set<number>();
  if (file.size === 0) return zero;
  const last = file.blocks.length - 1;
  const fullId = last === 0 ? undefined : zeroBlocks.idOf(file.blockSize);
  for (const [index, id] of file.blocks.entries()) {
    if (index === last ? id === zeroBlocks.idOf(blockLength(file.size, file.blockSize, last)) : id === fullId)
      zero.add(index);
  }
  return zero;
}

/** The id of what is there; undefined when it can't be the file's block. `onPiece` gets the content as it is read. */
async function readLocalBlock(
  context: BlockContext,
  file: ManifestFile,
  index: number,
  handle: FileHandle,
  signal: AbortSignal,
  onPiece: (piece: Uint8Array, position: number) => Promise<void> = async () => undefined,
): Promise<string | undefined> {
  const start = index * file.blockSize;
  const length = blockLength(file.size, file.blockSize, index);
  const hash = length > PIECE_BYTES_MAX ? createHash('sha256') : undefined;
  using _place = await context.gate.enter(Math.min(length, PIECE_BYTES_MAX), signal);
  const buffer = Buffer.allocUnsafe(Math.min(length, PIECE_BYTES_MAX));
  for (let at = 0; at < length; at += buffer.length) {
    const piece = buffer.subarray(0, Math.min(buffer.length, length - at));
    if (!(await readFully(handle, piece, start + at))) return undefined;
    await onPiece(piece, start + at);
    hash?.update(piece);
    // Comparing with zeros is a tenth of the work of hashing.
    if (hash === undefined)
      return context.zeroBlocks.isZero(piece) ? context.zeroBlocks.idOf(length) : blockIdOf(piece);
    signal.throwIfAborted();
  }
  return hash?.digest('base64');
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
    const piece = await readStored(context, file, start + at, length, signal);
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

async function readStored(
  context: BlockContext,
  file: ManifestFile,
  offset: number,
  count: number,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const { snapshot } = file;
  try {
    return await context.store.read(
      context.prefix + file.blob,
      { snapshot, range: { offset, count }, bytesMax: count },
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

async function readFully(handle: FileHandle, bytes: Buffer, position: number): Promise<boolean> {
  for (let at = 0; at < bytes.length;) {
    const { bytesRead } = await handle.read(bytes, at, bytes.length - at, position + at);
    if (bytesRead === 0) return false;
    at += bytesRead;
  }
  return true;
}

async function writeFully(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const { bytesWritten } = await handle.write(bytes, at, bytes.length - at, position + at);
    at += bytesWritten;
  }
}

function corrupt(context: BlockContext, file: ManifestFile, index: number): EvictdError {
  return new EvictdError(
    'corrupt-block',
    `block ${index} of ${quotePath(file.path)} (${context.prefix}${file.blob}, snapshot ${file.snapshot}) does not have the content that its checkpoint says`,
    { remedy: 'restore an older checkpoint with --at; evictd checkpoints lists them' },
  );
}
