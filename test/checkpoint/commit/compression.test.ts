import { randomBytes } from 'node:crypto';
import { appendFile, open, writeFile } from 'node:fs/promises';
import { zstdDecompressSync } from 'node:zlib';

import { expect, test } from 'vitest';

import type { FileEntry } from '../../../src/checkpoint/format/entry.ts';
import { isStored } from '../../../src/checkpoint/format/chunk.ts';
import { entriesOf } from '../../../src/checkpoint/commit/own/adopt.ts';
import { readEntry } from '../../../src/checkpoint/index/entries.ts';
import type { BlobStore } from '../../../src/checkpoint/store/store.ts';
import {
  PLACE,
  SET_PREFIX,
  committed,
  commitJob,
  never,
  restoreJob,
  testCheckpointer,
} from '../../support/checkpoints.ts';
import { readTree, testFolder } from '../../support/file-tree.ts';
import { type MemoryBlobs, createMemoryBlobs, storeError } from '../../support/memory-blobs.ts';
import { MIB, packBytes } from './rig.ts';

const packing = (store: BlobStore, path: string) =>
  testCheckpointer(store, path, { set: { compress: 'zstd' } });

/** Texts that get smaller, and no two chunks of which are the same. */
function lines(bytes: number): Buffer {
  const text = Buffer.alloc(bytes, ' ');
  for (let at = 0; at + 100 < bytes; at += 100) text.write(`{"step":${at},"loss":"unknown"}\n`, at);
  return text;
}

/** What is stored of a file's chunks. */
async function storedFile(blobs: MemoryBlobs, id: string, path: string): Promise<readonly Buffer[]> {
  const store = blobs.connect();
  const { entry } = await readEntry(store, PLACE, id, never());
  if (entry.kind !== 'checkpoint') throw new Error(`${id} is no checkpoint`);
  let found: FileEntry | undefined;
  for await (const one of entriesOf(entry, { store, prefix: SET_PREFIX }, never())) {
    if (one.path === path && one.type === 'file') found = one;
  }
  return (found?.chunks ?? []).filter(isStored).map(({ pack, offset, stored: bytes }) => {
    const content = blobs.content(`${SET_PREFIX}packs/${pack}`);
    return content?.subarray(offset, offset + bytes) ?? Buffer.alloc(0);
  });
}

test('files come back, and what is stored of each chunk is a frame that other tools can read', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  const text = lines(9.5 * MIB);
  const noise = randomBytes(5 * MIB);
  await writeFile(`${from.path}/text`, text);
  await writeFile(`${from.path}/noise`, noise);
  await writeFile(`${from.path}/small`, lines(1000));
  await writeFile(`${from.path}/middle`, lines(MIB));
  await writeFile(`${from.path}/holes`, Buffer.alloc(9 * MIB));
  await writeFile(`${from.path}/empty`, '');
  const blobs = createMemoryBlobs();
  const { id, bytes, bytesSent } = await committed(packing(blobs.connect(), from.path));
  await restoreJob(blobs.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
  expect(bytes).toBeGreaterThan(24 * MIB);
  expect(bytesSent).toBeLessThan(7 * MIB);
  const frames = await storedFile(blobs, id, 'text');
  expect(Buffer.concat(frames.map((frame) => zstdDecompressSync(frame))).equals(text)).toBe(true);
  // What can't be compressed is stored as it is.
  expect(Buffer.concat(await storedFile(blobs, id, 'noise')).equals(noise)).toBe(true);
});

test('a pack that fails again and again costs no more than time: the checkpoint comes back', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeFile(`${from.path}/text`, lines(9 * MIB));
  await writeFile(`${from.path}/small`, lines(100_000));
  const blobs = createMemoryBlobs();
  let failures = 0;
  const busy = blobs.connect({
    before({ operation, name }) {
      if (operation === 'create' && name.includes('/packs/') && ++failures <= 4)
        throw storeError('throttled', 'busy');
    },
  });
  const checkpointer = packing(busy, from.path);
  let result = await commitJob(checkpointer);
  for (let tries = 1; result.kind === 'failed' && tries < 10; tries++) result = await commitJob(checkpointer);
  expect(result).toMatchObject({ kind: 'committed' });
  await restoreJob(blobs.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});

test('only the changed chunk is sent, also by a process that knows nothing', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeFile(`${from.path}/text`, lines(20 * MIB));
  const blobs = createMemoryBlobs();
  await committed(packing(blobs.connect(), from.path));
  const unchanged = blobs.connect();
  expect(await committed(packing(unchanged, from.path))).toMatchObject({ id: '00000002' });
  expect(packBytes(unchanged)).toBeLessThan(2048);
  await using handle = await open(`${from.path}/text`, 'r+');
  await handle.write('changed', 9 * MIB);
  const later = blobs.connect();
  const { id } = await committed(packing(later, from.path));
  expect(packBytes(later)).toBeLessThan(MIB / 4);
  await restoreJob(blobs.connect(), to.path, id);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});

test('switched on and off, what is stored stays as it is, and all checkpoints stay whole', async () => {
  await using from = await testFolder();
  await using index = await testFolder();
  await writeFile(`${from.path}/still`, lines(9 * MIB));
  await writeFile(`${from.path}/moving`, lines(9 * MIB));
  await writeFile(`${from.path}/small`, lines(200_000));
  const blobs = createMemoryBlobs();
  const trees = new Map<string, unknown>();
  const sent: number[] = [];
  for (const compress of ['none', 'zstd', 'zstd', 'none', 'none'] as const) {
    await appendFile(`${from.path}/moving`, `more, ${compress}`);
    await appendFile(`${from.path}/small`, `more, ${compress}`);
    const client = blobs.connect();
    const checkpointer = testCheckpointer(client, from.path, {
      set: { compress },
      indexDirectory: index.path,
    });
    const { id } = await committed(checkpointer);
    await checkpointer.close();
    trees.set(id, await readTree(from.path));
    sent.push(packBytes(client));
  }
  expect(sent[0]).toBeGreaterThan(18 * MIB);
  for (const bytes of sent.slice(1)) expect(bytes).toBeLessThan(300_000);
  for (const [id, tree] of trees) {
    await using to = await testFolder();
    await restoreJob(blobs.connect(), to.path, id);
    expect(await readTree(to.path)).toEqual(tree);
  }
});
