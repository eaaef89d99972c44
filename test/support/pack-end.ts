import { createHash } from 'node:crypto';

import { EvictdError } from '../../src/base/errors.ts';
import type { PackTableRow } from '../../src/checkpoint/format/pack-table.ts';
import { packEndBytes } from '../../src/checkpoint/format/pack-table.ts';

/* Reads what encodePackEnd writes. The program itself never does: manifests say where chunks are. */

export const FOOTER_BYTES = packEndBytes(0);
const ROW_BYTES = 32;
const ID_BYTES = 16;
const KINDS = ['data', 'meta'] as const;
const VERSION = 1;
const MAGIC = Buffer.from('evictdpk', 'latin1');

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
