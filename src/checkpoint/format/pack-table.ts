import { createHash } from 'node:crypto';

import { EvictdError } from '../../base/errors.ts';
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

export const FOOTER_BYTES = 48;
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

/**
 * How many bytes of a pack its end takes, as its last FOOTER_BYTES say. `packBytes`: of the whole blob, `name`: of it.
 * Throws `bad-pack`.
 */
export function packEndBytesOf(footer: Uint8Array, packBytes: number, name: string): number {
  const bytes = bufferOf(footer.subarray(Math.max(0, footer.length - FOOTER_BYTES)));
  if (bytes.length < FOOTER_BYTES || !bytes.subarray(40).equals(MAGIC)) {
    throw badPack(name, 'it does not end as a pack does');
  }
  const version = bytes.readUInt32LE(4);
  if (version !== VERSION) throw badPack(name, `its table has version ${version}`);
  const count = bytes.readUInt32LE(0);
  if (packEndBytes(count) > packBytes) throw badPack(name, `it is too short for a table of ${count} rows`);
  return packEndBytes(count);
}

/**
 * The table of a pack. `tail`: its last bytes, at least those that packEndBytesOf says; `packBytes`: of the whole blob.
 * The rows are in the order of their offsets, and none reaches into another or out of the pack.
 * Throws `bad-pack`, naming `name` and the row.
 */
export function decodePackEnd(tail: Uint8Array, packBytes: number, name: string): readonly PackTableRow[] {
  const endBytes = packEndBytesOf(tail, packBytes, name);
  if (tail.length < endBytes || tail.length > packBytes)
    throw badPack(name, 'its table was not read as a whole');
  const end = bufferOf(tail.subarray(tail.length - endBytes));
  const tableBytes = endBytes - FOOTER_BYTES;
  if (!sha256(end.subarray(0, tableBytes + 8)).equals(end.subarray(tableBytes + 8, tableBytes + 40))) {
    throw badPack(name, 'its table is damaged');
  }
  const rows: PackTableRow[] = [];
  let free = 0;
  for (let at = 0; at < tableBytes; at += ROW_BYTES) {
    const offset = end.readUInt32LE(at + 16);
    const stored = end.readUInt32LE(at + 20);
    const plain = end.readUInt32LE(at + 24);
    const kind = KINDS[end.readUInt32LE(at + 28)];
    const isInside = offset >= free && offset + stored <= packBytes - endBytes;
    if (kind === undefined || stored === 0 || stored > plain || !isInside) {
      throw badPack(name, `row ${rows.length} of its table is wrong`);
    }
    rows.push({ id: end.toString('hex', at, at + ID_BYTES), kind, offset, stored, plain });
    free = offset + stored;
  }
  return rows;
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

function badPack(name: string, why: string): EvictdError {
  return new EvictdError('bad-pack', `the pack ${name} can't be used: ${why}`, {
    remedy: 'evictd checkpoints verify says which checkpoints need it',
  });
}
