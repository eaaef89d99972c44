import { EvictdError } from '../../base/errors.ts';
import type { HashSpec, StoredChunk } from '../format/chunk.ts';
import { chunkIdOf } from '../format/chunk-id.ts';
import { PACKS } from '../format/names.ts';
import { decompressFrame } from '../format/zstd-frame.ts';
import type { BlobStore } from '../store/store.ts';

const PIECE_BYTES_MAX = 1024 ** 2;

/**
 * Reads a piece of a tree or table and checks it by its id. `prefix`: `PREFIX/KEY/sets/SET/`. Rejects `bad-tree` naming
 * the blob, `checkpoint-gone` when the pack isn't there any more, or what the store rejects with.
 */
export async function readPiece(
  { store, prefix, hash }: { readonly store: BlobStore; readonly prefix: string; readonly hash: HashSpec },
  { id, pack, offset, stored, plain }: StoredChunk,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const name = `${prefix}${PACKS}${pack}`;
  if (plain > PIECE_BYTES_MAX || stored > plain) throw badPiece(name, offset, 'it is larger than any piece');
  const bytes = await readRange(store, name, { offset, count: stored }, signal);
  const content = stored < plain ? decompressFrame(bytes, plain) : bytes;
  if (content === undefined) throw badPiece(name, offset, 'it is no zstd frame of its length');
  if (chunkIdOf(content, hash) !== id) throw badPiece(name, offset, 'its content is not what its id says');
  return content;
}

async function readRange(
  store: BlobStore,
  name: string,
  range: { readonly offset: number; readonly count: number },
  signal: AbortSignal,
): Promise<Uint8Array> {
  try {
    return await store.read(name, { range, bytesMax: range.count }, signal);
  } catch (error) {
    if (!(error instanceof EvictdError) || error.code !== 'not-found') throw error;
    throw new EvictdError('checkpoint-gone', `${name} is not in the store any more`, {
      remedy: 'it was pruned meanwhile or removed by somebody: take another checkpoint, with --at',
      cause: error,
    });
  }
}

function badPiece(name: string, offset: number, why: string): EvictdError {
  return new EvictdError('bad-tree', `the piece at byte ${offset} of ${name} can't be used: ${why}`, {
    remedy: 'restore an older checkpoint with --at; evictd checkpoints lists them',
  });
}
