import type { FileChunk, StoredChunk } from '../chunk.ts';
import type { Entry, FileEntry } from '../entry.ts';

/** A file with more chunks has their list in pieces of its own. */
const CHUNKS_INSIDE_MAX = 64;
/** Chunks of one such piece; all but a file's last have so many. */
export const LIST_CHUNKS = 2048;
/** 2 TiB of chunks of 1 MiB. */
export const CHUNKS_MAX = 2 ** 21;

/** A file whose list of chunks is in pieces; `lists` says where those are. */
export type LongFileEntry = Omit<FileEntry, 'chunks'> & {
  readonly lists: readonly StoredChunk[];
  readonly chunkCount: number;
};

/** An entry as a leaf of the tree has it. */
export type TreeEntry = Entry | LongFileEntry;

/** A piece of the tree, as the node above it has it. */
export interface ChildRef {
  readonly first: string;
  readonly ref: StoredChunk;
}

export function isLong(chunks: readonly FileChunk[]): boolean {
  return chunks.length > CHUNKS_INSIDE_MAX;
}
