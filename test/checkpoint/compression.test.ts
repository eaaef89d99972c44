import { randomBytes } from 'node:crypto';
import { appendFile, open, writeFile } from 'node:fs/promises';
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';

import { expect, test } from 'vitest';

import { parseManifest } from '../../src/checkpoint/manifest.ts';
import type { BlobStore } from '../../src/checkpoint/store.ts';
import { decompressFrame } from '../../src/checkpoint/zstd-frame.ts';
import { commitJob, committed, never, PLACE, restoreJob, testCheckpointer } from '../support/checkpoints.ts';
import { readTree, testFolder, writeTree } from '../support/file-tree.ts';
import { countCalls, createMemoryService, storeError, type MemoryService } from '../support/memory-store.ts';

const MIB = 1024 ** 2;
const PREFIX = `${PLACE.prefix}/${PLACE.key}/${PLACE.set}/`;
const packing = (store: BlobStore, path: string) =>
  testCheckpointer(store, path, { set: { compress: 'zstd' } });

/** Texts that get smaller, and no two blocks of which are the same. */
function lines(bytes: number): Buffer {
  const text = Buffer.alloc(bytes, ' ');
  for (let at = 0; at + 100 < bytes; at += 100) text.write(`{"step":${at},"loss":"unknown"}\n`, at);
  return text;
}

async function manifestOf(service: MemoryService, id: string) {
  const name = `${PREFIX}checkpoints/${id}.json`;
  const body = await service.connect().read(name, { bytesMax: MIB }, never());
  return { name, body, manifest: await parseManifest(body, name, { set: PLACE.set, id }, never()) };
}

async function storedFile(service: MemoryService, path: string): Promise<Uint8Array> {
  return service.connect().read(`${PREFIX}files/${path}`, { bytesMax: 64 * MIB }, never());
}

test('files come back, and what is stored is a stream that other tools can read', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  const text = lines(9 * MIB + 5);
  const noise = randomBytes(5 * MIB);
  await writeFile(`${from.path}/text`, text);
  await writeFile(`${from.path}/noise`, noise);
  await writeFile(`${from.path}/small`, lines(1000));
  await writeFile(`${from.path}/middle`, lines(MIB));
  await writeFile(`${from.path}/holes`, Buffer.alloc(9 * MIB));
  await writeTree(from.path, { empty: { kind: 'file', content: '' } });
  const service = createMemoryService();

  const { bytes, bytesSent } = await committed(packing(service.connect(), from.path));
  await restoreJob(service.connect(), to.path);

  expect(await readTree(to.path)).toEqual(await readTree(from.path));
  expect(bytes).toBeGreaterThan(24 * MIB);
  expect(bytesSent).toBeLessThan(7 * MIB);
  for (const [path, content] of Object.entries({ text, noise, small: lines(1000) })) {
    expect(zstdDecompressSync(await storedFile(service, path)).equals(content)).toBe(true);
  }
  // What can't be compressed costs a few bytes more, not a copy that is larger by much.
  expect((await storedFile(service, 'noise')).length).toBeLessThan(noise.length + 1000);
});

test.each(['put', 'stageBlock'] as const)(
  'a %s that fails again and again costs no more than time: the checkpoint comes back',
  async (operation) => {
    await using from = await testFolder();
    await using to = await testFolder();
    await writeFile(`${from.path}/text`, lines(9 * MIB));
    await writeFile(`${from.path}/small`, lines(100_000));
    const service = createMemoryService();
    let failures = 0;
    const busy = service.connect({
      before(call) {
        if (call.operation === operation && call.name.includes('/files/') && ++failures <= 4)
          throw storeError('throttled', 'busy');
      },
    });
    const checkpointer = packing(busy, from.path);
    let result = await commitJob(checkpointer);
    for (let tries = 1; result.kind === 'failed' && tries < 10; tries++)
      result = await commitJob(checkpointer);

    expect(result).toMatchObject({ kind: 'committed' });
    await restoreJob(service.connect(), to.path);
    expect(await readTree(to.path)).toEqual(await readTree(from.path));
    const { manifest } = await manifestOf(service, '00000001');
    expect(manifest.totals.bytesSent).toBeGreaterThan(0);
  },
);

test('a manifest that goes in blocks is stored as it is', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeFile(`${from.path}/text`, lines(1000));
  const service = createMemoryService();
  // So some services answer a whole write where one that was broken off has left blocks.
  const store = service.connect({
    before(call) {
      if (call.operation === 'put' && call.name.includes('/checkpoints/'))
        throw storeError('conflict', 'blocks');
    },
  });
  expect(await committed(packing(store, from.path))).toMatchObject({ id: '00000001' });
  expect((await manifestOf(service, '00000001')).manifest.files).toHaveLength(1);
  await restoreJob(service.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});

test('only the changed block is sent, also by a process that knows nothing', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeFile(`${from.path}/text`, lines(20 * MIB));
  const service = createMemoryService();
  await committed(packing(service.connect(), from.path));

  const unchanged = service.connect();
  await committed(packing(unchanged, from.path));
  expect(countCalls(unchanged, 'stageBlock')).toBe(0);
  expect(countCalls(unchanged, 'commitBlocks')).toBe(0);

  await using handle = await open(`${from.path}/text`, 'r+');
  await handle.write('changed', 9 * MIB);
  const later = service.connect();
  const { id } = await committed(packing(later, from.path));
  expect(countCalls(later, 'stageBlock')).toBe(1);
  await restoreJob(service.connect(), to.path, id);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});

test('switched on and off, each file is sent once more when it changes, and all checkpoints stay whole', async () => {
  await using from = await testFolder();
  await using index = await testFolder();
  await writeFile(`${from.path}/still`, lines(9 * MIB));
  await writeFile(`${from.path}/moving`, lines(9 * MIB));
  await writeFile(`${from.path}/small`, lines(200_000));
  const service = createMemoryService();
  const trees = new Map<string, unknown>();
  const staged: number[] = [];
  for (const compress of ['none', 'zstd', 'zstd', 'none', 'none'] as const) {
    await appendFile(`${from.path}/moving`, `more, ${compress}`);
    await appendFile(`${from.path}/small`, `more, ${compress}`);
    const client = service.connect();
    const options = { set: { compress }, indexDirectory: index.path };
    const checkpointer = testCheckpointer(client, from.path, options);
    const { id } = await committed(checkpointer);
    await checkpointer.close();
    trees.set(id, await readTree(from.path));
    staged.push(countCalls(client, 'stageBlock'));
  }
  expect(staged).toEqual([6, 3, 1, 3, 1]);
  for (const [id, tree] of trees) {
    await using to = await testFolder();
    await restoreJob(service.connect(), to.path, id);
    expect(await readTree(to.path)).toEqual(tree);
  }
});

test('frames that another version of the library left in the store are used as they are', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeFile(`${from.path}/text`, lines(9 * MIB));
  const service = createMemoryService();
  const client = service.connect();
  const other: BlobStore = {
    ...client,
    stageBlock(name, id, body, signal) {
      const params = { [constants.ZSTD_c_compressionLevel]: 9 };
      return client.stageBlock(name, id, zstdCompressSync(zstdDecompressSync(body), { params }), signal);
    },
  };
  await packing(other, from.path).stage(PLACE.set, never());
  const later = service.connect();
  await committed(packing(later, from.path));
  expect(countCalls(later, 'stageBlock')).toBe(0);
  await restoreJob(service.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});

test('damaged frames are refused', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeFile(`${from.path}/text`, lines(9 * MIB));
  const service = createMemoryService();
  await committed(packing(service.connect(), from.path));
  service.corrupt(`${PREFIX}files/text`, (content) => content.fill(0xa5, 1000, 1001));
  await expect(restoreJob(service.connect(), to.path)).rejects.toMatchObject({ code: 'corrupt-block' });
});

test('a frame gives its content, and never more than was asked for', () => {
  const bomb = zstdCompressSync(Buffer.alloc(64 * MIB));
  expect(decompressFrame(bomb, 4 * MIB)).toBeUndefined();
  expect(decompressFrame(bomb, 64 * MIB)?.length).toBe(64 * MIB);
  expect(decompressFrame(bomb, 65 * MIB)).toBeUndefined();
  expect(decompressFrame(Buffer.from('no frame at all'), 10)).toBeUndefined();
  expect(decompressFrame(bomb.subarray(0, 100), 64 * MIB)).toBeUndefined();
});

test.each([
  ['as many frames as blocks', [10]],
  ['no larger than a block can be', [10, 99 * MIB, 10]],
])('a manifest has to have frames: %s', async (_, zstd) => {
  await using from = await testFolder();
  await writeFile(`${from.path}/text`, lines(9 * MIB));
  const service = createMemoryService();
  const { id } = await committed(packing(service.connect(), from.path));
  const { name, manifest } = await manifestOf(service, id);
  const files = manifest.files.map((file) => ({ ...file, zstd }));
  const changed = Buffer.from(JSON.stringify({ ...manifest, files }));
  await expect(parseManifest(changed, name, { set: PLACE.set, id }, never())).rejects.toThrow(
    /compressed blocks of "?text/,
  );
});
