import { createHash } from 'node:crypto';

import type { ChunkId } from './chunk.ts';

/*
 * A pack is chunks one after the other, and then its end: a row of 32 bytes for each chunk and a footer of 48, all
 * numbers little-endian.
 *
 *     row     0  id, 16 bytes      16  offset      20  stored      24  plain      28  kind: 0 data, 1 meta
 *     footer  0  count of rows      4  version      8  sha256 of the rows and these 8 bytes      40  "evictdpk"
 */

export interface PackTableRow {
  readonly id: ChunkId;
  /** Content of files, or pieces of trees and tables. */
  readonly kind: 'data' | 'meta';
  /** Byte offset in the pack. */
  readonly offset: number;
  /** Bytes in the pack; fewer than `plain`: a zstd frame. */
  readonly stored: number;
  readonly plain: number;
}

const FOOTER_BYTES = 48;
const ROW_BYTES = 32;
const ID_BYTES = 16;
const KINDS = ['data', 'meta'] as const;
const VERSION = 1;
const MAGIC = Buffer.from('evictdpk', 'latin1');

/** The table and footer of a pack, for its very end. `rows`: in the order of their offsets. */
export function encodePackEnd(rows: readonly PackTableRow[]): Buffer {
  const end = Buffer.alloc(packEndBytes(rows.length));
  let at = 0;
  for (const { id, kind, offset, stored, plain } of rows) {
    end.write(id, at, ID_BYTES, 'hex');
    end.writeUInt32LE(offset, at + 16);
    end.writeUInt32LE(stored, at + 20);
    end.writeUInt32LE(plain, at + 24);
    end.writeUInt32LE(KINDS.indexOf(kind), at + 28);
    at += ROW_BYTES;
  }
  end.writeUInt32LE(rows.length, at);
  end.writeUInt32LE(VERSION, at + 4);
  sha256(end.subarray(0, at + 8)).copy(end, at + 8);
  MAGIC.copy(end, at + 40);
  return end;
}

/** Bytes of the end of a pack with so many chunks. */
export function packEndBytes(rowCount: number): number {
  return rowCount * ROW_BYTES + FOOTER_BYTES;
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}
