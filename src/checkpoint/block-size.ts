import { EvictdError } from '../base/errors.ts';

const MIB = 1024 ** 2;

export const BLOCK_BYTES_DEFAULT = 4 * MIB;
/** So little is read, hashed and moved between threads in less time than opening a file takes on the main thread. */
export const SMALL_BYTES_MAX = 256 * 1024;
/** One block is held in memory while it is sent, so a block can't grow to the service's 4,000 MiB. */
export const BLOCK_BYTES_MAX = 256 * MIB;
/** learn.microsoft.com/azure/storage/blobs/scalability-targets: committed blocks of one blob. */
export const BLOCKS_MAX = 50_000;
/** A file gets its block size with room to double before the size has to change. */
const BLOCKS_AT_FIRST_MAX = 25_000;

/**
 * The block size of a file of `size` bytes. A file keeps the size it had (`previous`) as long as its blocks can be
 * counted, since another block size means other blocks, and then all of the file is sent again.
 * Throws `file-too-large` above 12.2 TiB.
 */
export function blockSizeOf(size: number, previous?: number): number {
  if (previous !== undefined && blockCount(size, previous) <= BLOCKS_MAX) return previous;
  let blockSize = BLOCK_BYTES_DEFAULT;
  while (blockCount(size, blockSize) > BLOCKS_AT_FIRST_MAX && blockSize < BLOCK_BYTES_MAX) blockSize *= 2;
  if (blockCount(size, blockSize) > BLOCKS_MAX) {
    throw new EvictdError('file-too-large', `a file of ${size} bytes has more than ${BLOCKS_MAX} blocks`);
  }
  return blockSize;
}

export function blockCount(size: number, blockSize: number): number {
  return Math.ceil(size / blockSize);
}

/** Bytes of block `index`; the last one may be shorter. */
export function blockLength(size: number, blockSize: number, index: number): number {
  return Math.min(blockSize, size - index * blockSize);
}
