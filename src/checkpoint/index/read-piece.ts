import { EvictdError, hasCode } from '../../base/errors.ts';
import type { HashSpec, StoredChunk } from '../format/chunk.ts';
import { contentOf } from '../format/chunk-id.ts';
import type { Manifest } from '../format/manifest.ts';
import { PACKS } from '../format/names.ts';
import { badPiece, PIECE_BYTES_MAX } from '../format/tree/piece.ts';
import type { ReadPiece } from '../format/tree/tree.ts';
import type { BlobStore } from '../store/store.ts';

/** Pieces of a tree lie side by side in their packs: what is around one is most often asked for next. */
const STRETCH_BYTES = 512 * 1024;
const STRETCHES_MAX = 32;

/**
 * Reads pieces of the checkpoints of a set, which have most of them in common: packs of metadata are read in stretches of
 * 512 KiB, and 16 MiB of those are kept, so that thousands of pieces cost some requests, also when they are read twice.
 * `prefix`: `PREFIX/KEY/sets/SET/`. What is answered rejects as `readPiece` does.
 */
export function createPieceReader(
  { store, prefix }: { readonly store: BlobStore; readonly prefix: string },
  signal: AbortSignal,
): (manifest: Pick<Manifest, 'hash' | 'metadata'>) => ReadPiece {
  /** The one that was used last is at the end. */
  const known = new Map<string, Promise<Uint8Array>>();
  const stretch = (name: string, index: number, size: number): Promise<Uint8Array> => {
    const key = `${index} ${size} ${name}`;
    const offset = index * STRETCH_BYTES;
    const count = Math.min(STRETCH_BYTES, size - offset);
    const read = known.get(key) ?? store.read(name, { range: { offset, count }, bytesMax: count }, signal);
    known.delete(key);
    known.set(key, read);
    read.catch(() => known.delete(key));
    for (const oldest of known.keys()) {
      if (known.size <= STRETCHES_MAX) break;
      known.delete(oldest);
    }
    return read;
  };
  return ({ hash, metadata }) => {
    const sizes = new Map(metadata.map(({ name, bytes }) => [`${prefix}${PACKS}${name}`, bytes]));
    const read: BlobStore['read'] = async (name, options, inner) => {
      const { range } = options;
      const size = sizes.get(name);
      if (range === undefined || size === undefined || range.offset + range.count > size)
        return store.read(name, options, inner);
      const first = Math.floor(range.offset / STRETCH_BYTES);
      const last = Math.floor((range.offset + range.count - 1) / STRETCH_BYTES);
      const indexes = Array.from({ length: last - first + 1 }, (_, at) => first + at);
      const parts = await Promise.all(indexes.map((index) => stretch(name, index, size)));
      const from = range.offset - first * STRETCH_BYTES;
      return Uint8Array.from(Buffer.concat(parts).subarray(from, from + range.count));
    };
    return (ref) => readPiece({ store: { read }, prefix, hash }, ref, signal);
  };
}

/**
 * Reads a piece of a tree or table and checks it by its id. `prefix`: `PREFIX/KEY/sets/SET/`. Rejects `bad-tree` naming
 * the blob, `checkpoint-gone` when the pack isn't there any more, or what the store rejects with.
 */
export async function readPiece(
  {
    store,
    prefix,
    hash,
  }: { readonly store: Pick<BlobStore, 'read'>; readonly prefix: string; readonly hash: HashSpec },
  ref: StoredChunk,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const name = `${prefix}${PACKS}${ref.pack}`;
  const bad = badPiece(name, ref);
  if (ref.plain > PIECE_BYTES_MAX || ref.stored > ref.plain) throw bad('it is larger than any piece');
  const bytes = await readRange(store, name, { offset: ref.offset, count: ref.stored }, signal);
  const content = contentOf(bytes, ref, hash);
  if (content === undefined) throw bad('its content is not what its id says');
  return content;
}

async function readRange(
  store: Pick<BlobStore, 'read'>,
  name: string,
  range: { readonly offset: number; readonly count: number },
  signal: AbortSignal,
): Promise<Uint8Array> {
  try {
    return await store.read(name, { range, bytesMax: range.count }, signal);
  } catch (error) {
    if (!hasCode(error, 'not-found')) throw error;
    throw new EvictdError('checkpoint-gone', `${name} is not in the store any more`, {
      remedy: 'it was pruned meanwhile or removed by somebody: take another checkpoint, with --at',
      cause: error,
    });
  }
}
