import type { FileHandle } from 'node:fs/promises';

import { forEachLimit } from '../base/concurrency.ts';
import type { Gate } from '../base/concurrency.ts';
import { AssertionFailed } from '../base/assert.ts';
import { EvictdError } from '../base/errors.ts';
import { blockLength } from './block-size.ts';
import type { FileIndex } from './file-index.ts';
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
  /** With which the manifest's block ids were made. */
  readonly hashKey: string;
  readonly zeroIds: ZeroIds;
  readonly reader: Reader;
  readonly onBytes: (bytes: number, from: 'store' | 'disk') => void;
  /** What this machine knows of the target. */
  readonly index: Pick<FileIndex, 'set'> | undefined;
}

/** One request fetches no more than this, but always a whole block. */
const RUN_BYTES_MAX = 8 * 1024 ** 2;
/** A thread holds no more of what it fetches. */
const PIECE_BYTES = 256 * 1024;
export const RUNS_IN_FLIGHT = 8;
const LOCAL_BLOCKS_IN_FLIGHT = 4;

/** Neighbouring blocks that are fetched by one request. */
interface Run {
  readonly first: number;
  readonly count: number;
  readonly bytes: number;
}

/**
 * Fetches the blocks `missing` of a file (in order) and writes each to its place and checks it against its
 * hash: what was written is of no use when this rejects. Blocks of zeros have to be left out by the caller.
 * Rejects `corrupt-block`, `checkpoint-gone`, the system's error of a write, or what the store rejects with.
 */
export async function fetchBlocks(
  context: BlockContext,
  file: ManifestFile,
  missing: readonly number[],
  handle: FileHandle,
  signal: AbortSignal,
): Promise<void> {
  await forEachLimit(
    runsOf(file, missing),
    RUNS_IN_FLIGHT,
    signal,
    async ({ first, count, bytes }, inner) => {
      using _place = await context.gate.enter(Math.min(bytes, PIECE_BYTES), inner);
      const indexes = Array.from({ length: count }, (_, at) => first + at);
      const { snapshot } = file;
      const download = {
        snapshot,
        offset: first * file.blockSize,
        fd: handle.fd,
        blocks: indexes.map((index) => file.blocks[index] ?? ''),
        lengths: indexes.map((index) => blockLength(file.size, file.blockSize, index)),
        hashKey: context.hashKey,
        reader: context.reader,
      };
      const wrong = await unlessGone(context, file, () =>
        context.store.download(context.prefix + file.blob, download, inner),
      );
      if (wrong !== undefined) throw corrupt(context, file, first + wrong);
      context.onBytes(bytes, 'store');
    },
  );
}

/**
 * Which blocks of `local` are those that the manifest names, wherever they can be the same.
 * Rejects with the system's error of a read.
 *
 * All of it is read, whatever its times say: a machine that is taken away keeps times of writes whose content never
 * reached the disk.
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

/** Whether a block on disk is the manifest's; it is copied to `copyTo`, which may then hold what is wrong. */
async function isLocally(
  { reader, hashKey }: BlockContext,
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
    hashKey,
    ...(copyTo !== undefined && { copyTo: copyTo.fd }),
  });
  if (result.kind !== 'verified') throw errorOf(result);
  return result.isSame;
}

export function errorOf(result: ReadResult): Error {
  if (result.kind !== 'failed') throw new AssertionFailed(`a thread answered ${result.kind}`);
  return Object.assign(new Error(result.message), { code: result.errno });
}

function* runsOf(file: ManifestFile, missing: readonly number[]): Generator<Run> {
  let run: Run | undefined;
  for (const index of missing) {
    const bytes = blockLength(file.size, file.blockSize, index);
    if (run !== undefined && run.first + run.count === index && run.bytes + bytes <= RUN_BYTES_MAX) {
      run = { first: run.first, count: run.count + 1, bytes: run.bytes + bytes };
      continue;
    }
    if (run !== undefined) yield run;
    run = { first: index, count: 1, bytes };
  }
  if (run !== undefined) yield run;
}

/** Rejects `checkpoint-gone` where `read` finds nothing. */
export async function unlessGone<T>(
  context: BlockContext,
  file: ManifestFile,
  read: () => Promise<T>,
): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (!(error instanceof EvictdError) || error.code !== 'not-found') throw error;
    throw new EvictdError(
      'checkpoint-gone',
      `${quotePath(file.path)} is not in the store any more (${context.prefix}${file.blob}, snapshot ${file.snapshot})`,
      { remedy: 'it was pruned meanwhile: restore again, or another checkpoint with --at', cause: error },
    );
  }
}

export function corrupt(context: BlockContext, file: ManifestFile, index: number): EvictdError {
  return new EvictdError(
    'corrupt-block',
    `block ${index} of ${quotePath(file.path)} (${context.prefix}${file.blob}, snapshot ${file.snapshot}) does not have the content that its checkpoint says`,
    { remedy: 'restore an older checkpoint with --at; evictd checkpoints lists them' },
  );
}
