import { spawnSync } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';

const PIECE_BYTES = 4 * 1024 ** 2;
const PAGE_BYTES = 4096;

/** Files of bytes that can't be compressed, no two pages of them alike. In the page cache when it is done. */
export async function writeFiles(folder: string, count: number, bytes: number): Promise<void> {
  await mkdir(folder, { recursive: true });
  const piece = randomFillSync(Buffer.allocUnsafe(Math.min(bytes, PIECE_BYTES)));
  for (let number = 0; number < count; number++) {
    await using file = await open(join(folder, `file-${number}`), 'w');
    for (let at = 0; at < bytes; at += piece.length) {
      stamp(piece, number, at);
      await file.write(piece, 0, Math.min(piece.length, bytes - at), at);
    }
  }
  // So that nothing is written to the disk while something is measured.
  spawnSync('sync', ['-f', folder]);
}

/** Overwrites a page at each of `count` places, evenly scattered. */
export async function changePlaces(file: string, bytes: number, count: number): Promise<void> {
  await using handle = await open(file, 'r+');
  const page = randomFillSync(Buffer.allocUnsafe(PAGE_BYTES));
  const step = Math.floor(bytes / count / PAGE_BYTES) * PAGE_BYTES;
  for (let place = 0; place < count; place++) {
    page.writeUInt32LE(place);
    await handle.write(page, 0, page.length, place * step);
  }
}

export async function append(file: string, bytes: number): Promise<void> {
  await using handle = await open(file, 'a');
  for (let written = 0; written < bytes; written += PIECE_BYTES) {
    await handle.write(randomFillSync(Buffer.allocUnsafe(Math.min(PIECE_BYTES, bytes - written))));
  }
}

function stamp(piece: Buffer, number: number, at: number): void {
  for (let page = 0; page + 12 <= piece.length; page += PAGE_BYTES) {
    piece.writeUInt32LE(number, page);
    piece.writeDoubleLE(at + page, page + 4);
  }
}
