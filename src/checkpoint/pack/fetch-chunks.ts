import { writeSync } from 'node:fs';

import { reasonOf } from '../../base/abort.ts';
import { errnoOf, EvictdError, messageOf } from '../../base/errors.ts';
import { chunkIdOf } from '../format/chunk-id.ts';
import type { HashSpec, StoredChunk } from '../format/chunk.ts';
import { decompressFrame } from '../format/zstd-frame.ts';
import type { BlobStore } from '../store/store.ts';
import type { FetchOrder, FetchResult } from './fetch.ts';

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
    if (checked === undefined || !isSame(checked.chunk, chunk))
      checked = { chunk, content: contentOf(chunk, stretch, offset, hash) };
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

/** Undefined: it isn't what its id says, or not in the stretch. */
function contentOf(
  { id, offset, stored, plain }: StoredChunk,
  stretch: Uint8Array,
  stretchOffset: number,
  hash: HashSpec,
): Uint8Array | undefined {
  const at = offset - stretchOffset;
  if (at < 0 || at + stored > stretch.length) return undefined;
  const bytes = stretch.subarray(at, at + stored);
  const content = stored < plain ? decompressFrame(bytes, plain) : bytes;
  return content?.length === plain && chunkIdOf(content, hash) === id ? content : undefined;
}

function writeFully(fd: number, bytes: Uint8Array, position: number): void {
  try {
    for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at, bytes.length - at, position + at);
  } catch (error) {
    throw new EvictdError(errnoOf(error) ?? 'write-failed', messageOf(error), { cause: error });
  }
}
