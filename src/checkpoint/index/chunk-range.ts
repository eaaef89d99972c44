import { type FileChunk, type StoredChunk, isStored } from '../format/chunk.ts';
import { LOST_ID } from './record.ts';

/**
 * A file's chunks with `replacement` in place of what was at the same bytes, from byte `from` on. What is left of a chunk
 * that lies half in there, and what is missing before, is filled with chunks that the store doesn't have.
 */
export function replaceRange(
  chunks: readonly FileChunk[],
  from: number,
  replacement: readonly FileChunk[],
): readonly FileChunk[] {
  const to = from + bytesOf(replacement);
  const before: FileChunk[] = [];
  const after: FileChunk[] = [];
  let position = 0;
  for (const chunk of chunks) {
    const end = position + chunk.plain;
    if (end <= from) before.push(chunk);
    else if (position >= to) after.push(chunk);
    else {
      if (position < from) before.push(remnant(chunk, from - position));
      if (end > to) after.push(remnant(chunk, end - to));
    }
    position = end;
  }
  if (position < from) before.push(lostChunk(from - position));
  return mergeHoles([...before, ...replacement, ...after]);
}

/** Those that the store hasn't any more are marked; the same list, where it has all. */
export function withoutGone(
  chunks: readonly FileChunk[],
  isThere: (chunk: StoredChunk) => boolean,
): readonly FileChunk[] {
  const isGone = (chunk: FileChunk): chunk is StoredChunk =>
    isStored(chunk) && chunk.id !== LOST_ID && !isThere(chunk);
  return chunks.some(isGone)
    ? chunks.map((chunk) => (isGone(chunk) ? { ...chunk, id: LOST_ID } : chunk))
    : chunks;
}

function remnant(chunk: FileChunk, plain: number): FileChunk {
  return isStored(chunk) ? lostChunk(plain) : { plain };
}

function lostChunk(plain: number): StoredChunk {
  return { id: LOST_ID, plain, pack: '', offset: 0, stored: plain };
}

export function bytesOf(chunks: readonly FileChunk[]): number {
  return chunks.reduce((sum, { plain }) => sum + plain, 0);
}

/** Holes that follow each other as one. */
export function mergeHoles(chunks: readonly FileChunk[]): readonly FileChunk[] {
  if (chunks.every(isStored)) return chunks;
  const merged: FileChunk[] = [];
  for (const chunk of chunks) {
    const last = merged.at(-1);
    if (last !== undefined && !isStored(last) && !isStored(chunk))
      merged[merged.length - 1] = { plain: last.plain + chunk.plain };
    else merged.push(chunk);
  }
  return merged;
}

/** Whether two versions of a file hold the same, wherever that is stored. */
export function sameChunks(one: readonly FileChunk[], other: readonly FileChunk[]): boolean {
  return (
    one.length === other.length &&
    one.every((chunk, index) => {
      const twin = other[index];
      if (twin?.plain !== chunk.plain) return false;
      return isStored(chunk) ? isStored(twin) && twin.id === chunk.id : !isStored(twin);
    })
  );
}
