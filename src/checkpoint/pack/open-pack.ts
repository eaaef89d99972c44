import { assert } from '../../base/assert.ts';
import type { ChunkId, PackName, StoredChunk } from '../format/chunk.ts';
import { encodePackEnd, packEndBytes } from '../format/pack-table.ts';
import type { PackTableRow } from '../format/pack-table.ts';
import { compressFrame } from '../format/zstd-frame.ts';
import { packMemory } from './pack-memory.ts';

/** What a pack is for: content of files below SMALL_BYTES, of larger ones, or pieces of trees and tables. */
export type PackPurpose = 'small' | 'large' | 'meta';

/** The table of the tiniest files would be longer than all they hold. */
export const ROWS_MAX = 32_768;
/** A frame that saves less than this part isn't worth unpacking. */
const SAVED_MIN = 1 / 8;

/** A pack that is being filled. Chunks are read straight to where they stay. */
export interface OpenPack {
  /** Undefined while nothing is in it: it has no number then. */
  readonly name: PackName | undefined;
  /** All that it has; to be used again, once nobody reads it any more. */
  readonly memory: Buffer;
  fits(bytes: number): boolean;
  /** Where the next chunk is to be put: `bytes` of memory, with anything in it. */
  space(bytes: number): Buffer;
  /** The first `plain` bytes of that space are a chunk. Compressed, they take the frame's bytes only. */
  keep(id: ChunkId, plain: number, options: { readonly compress: boolean }): StoredChunk;
  /** All of it, with its table. Nothing can be added any more. */
  seal(): SealedPack;
}

export interface SealedPack {
  readonly name: PackName;
  readonly body: Buffer;
}

/** Memory for a pack of up to `packBytes` of chunks. */
export function memoryFor(packBytes: number): Buffer {
  return packMemory(packBytes + packEndBytes(ROWS_MAX));
}

export interface OpenPackOptions {
  readonly purpose: PackPurpose;
  readonly packBytes: number;
  /** Of `memoryFor`. */
  readonly memory: Buffer;
  /** Called for the first chunk. */
  readonly nextName: () => PackName;
}

export function createOpenPack({ purpose, packBytes, memory, nextName }: OpenPackOptions): OpenPack {
  const kind = purpose === 'meta' ? 'meta' : 'data';
  const rows: PackTableRow[] = [];
  let filled = 0;
  let name: PackName | undefined;
  return {
    get name() {
      return name;
    },
    memory,
    fits: (bytes) => filled + bytes <= packBytes && rows.length < ROWS_MAX,
    space: (bytes) => memory.subarray(filled, filled + bytes),
    keep(id, plain, { compress }) {
      name ??= nextName();
      const offset = filled;
      const stored = compress ? compressIn(memory.subarray(offset, offset + plain)) : plain;
      filled += stored;
      rows.push({ id, kind, offset, stored, plain });
      return { id, plain, pack: name, offset, stored };
    },
    seal() {
      assert(name !== undefined, 'a pack without chunks has no name');
      const end = encodePackEnd(rows);
      memory.set(end, filled);
      return { name, body: memory.subarray(0, filled + end.length) };
    },
  };
}

/** Puts the content's frame in its place, if that saves enough. Answers how many bytes count now. */
function compressIn(content: Buffer): number {
  const frame = compressFrame(content);
  if (frame.length > content.length * (1 - SAVED_MIN)) return content.length;
  content.set(frame);
  return frame.length;
}
