import { writeSync } from 'node:fs';

import { reasonOf } from '../../base/abort.ts';
import { errnoOf, EvictdError, messageOf } from '../../base/errors.ts';
import { contentOf } from '../format/chunk-id.ts';
import type { HashSpec, StoredChunk } from '../format/chunk.ts';
import type { BlobStore } from '../store/store.ts';

/** A stretch of one pack, fetched by one request, and where its chunks go. */
export interface FetchOrder {
  /** Blob name of the pack, from the container's root. */
  readonly pack: string;
  readonly offset: number;
  readonly bytes: number;
  readonly hash: HashSpec;
  /** In the order of their offsets. */
  readonly chunks: readonly Placement[];
}

/** One chunk of the stretch. The same chunk may be wanted at several places: then it is there several times. */
export interface Placement {
  readonly chunk: StoredChunk;
  /** An open file, and the byte in it where the chunk begins. */
  readonly fd: number;
  readonly position: number;
}

/** Indexes into `chunks` of those that were not what they should be; they are not written. */
export interface FetchResult {
  readonly wrong: readonly number[];
}

/** TLS shares the thread: after so much was checked and written, it gets its turn. */
const TURN_BYTES = 1024 ** 2;

/**
 * Fetches a stretch of a pack, and writes those of its chunks that are what they should be to their places. Rejects with
 * the store's error, with the signal's reason, or with an EvictdError that has the system's code (`ENOSPC`, `EIO`) for
 * what can't be written.
 */
export async function fetchChunks(
  { pack, offset, bytes, hash, chunks }: FetchOrder,
  store: Pick<BlobStore, 'read'>,
  signal: AbortSignal,
): Promise<FetchResult> {
  const range = { offset, count: bytes };
  const stretch = await store.read(pack, { range, bytesMax: bytes }, signal);
  const wrong: number[] = [];
  // The same chunk for several places comes several times in a row: it is checked once.
  let checked: { readonly chunk: StoredChunk; readonly content: Uint8Array | undefined } | undefined;
  let sinceTurn = 0;
  for (const [index, { chunk, fd, position }] of chunks.entries()) {
    if (checked === undefined || !isSame(checked.chunk, chunk)) {
      const at = chunk.offset - offset;
      // What isn't in the stretch isn't what its id says.
      const stored = at < 0 ? stretch.subarray(0, 0) : stretch.subarray(at, at + chunk.stored);
      checked = { chunk, content: contentOf(stored, chunk, hash) };
    }
    if (checked.content === undefined) wrong.push(index);
    else writeFully(fd, checked.content, position);
    sinceTurn += chunk.plain;
    if (sinceTurn < TURN_BYTES) continue;
    sinceTurn = 0;
    await new Promise((resolve) => setImmediate(resolve));
    if (signal.aborted) throw reasonOf(signal);
  }
  return { wrong };
}

function isSame(one: StoredChunk, other: StoredChunk): boolean {
  return (
    one.offset === other.offset &&
    one.id === other.id &&
    one.stored === other.stored &&
    one.plain === other.plain
  );
}

/** Writes all of it. Throws an EvictdError that has the system's code. */
export function writeFully(fd: number, bytes: Uint8Array, position: number): void {
  try {
    for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at, bytes.length - at, position + at);
  } catch (error) {
    throw new EvictdError(errnoOf(error) ?? 'write-failed', messageOf(error), { cause: error });
  }
}
