import { open, stat } from 'node:fs/promises';

import { expect, test } from 'vitest';

import { committed, restoreJob, testCheckpointer } from '../support/checkpoints.ts';
import { testFolder } from '../support/file-tree.ts';
import { countCalls, createMemoryService } from '../support/memory-store.ts';

const MIB = 1024 ** 2;
const GIB = 1024 ** 3;

async function writeSparse(file: string, size: number, islands: readonly number[]): Promise<void> {
  await using handle = await open(file, 'w');
  await handle.truncate(size);
  for (const at of islands) await handle.write(`island at ${at}`, at);
}

async function readIsland(file: string, at: number): Promise<string> {
  await using handle = await open(file);
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(64), 0, 64, at);
  return buffer.toString('latin1', 0, bytesRead).replace(/\0+$/, '');
}

test('a sparse file of 40 GiB is staged and restored at the cost of what is in it', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  const size = 40 * GIB;
  const islands = [0, 13 * GIB + 5, size - 64];
  await writeSparse(`${from.path}/disk.img`, size, islands);
  const service = createMemoryService();
  const saving = service.connect();
  // Its zeros are one block in the store.
  expect(await committed(testCheckpointer(saving, from.path))).toMatchObject({
    bytes: size,
    bytesSent: 4 * 4 * MIB,
  });
  expect(countCalls(saving, 'stageBlock')).toBe(4);
  const store = service.connect();
  expect(await restoreJob(store, to.path)).toMatchObject({ bytes: size, bytesFetched: 3 * 4 * MIB });
  expect(countCalls(store, 'download', '/files/')).toBe(3);
  const file = `${to.path}/disk.img`;
  const { size: sizeNow, blocks } = await stat(file);
  expect(sizeNow).toBe(size);
  expect(blocks * 512).toBeLessThanOrEqual(3 * 4 * MIB + MIB);
  for (const at of islands) expect(await readIsland(file, at)).toBe(`island at ${at}`);
}, 300_000);

test('the hole at the end of a file comes back as one, whatever its length', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeSparse(`${from.path}/tail`, 9 * MIB + 12_345, [0]);
  await writeSparse(`${from.path}/only`, 8 * MIB, []);
  const service = createMemoryService();
  await committed(testCheckpointer(service.connect(), from.path));
  const store = service.connect();
  expect(await restoreJob(store, to.path)).toMatchObject({ bytesFetched: 4 * MIB });
  expect((await stat(`${to.path}/only`)).blocks).toBe(0);
  expect((await stat(`${to.path}/tail`)).size).toBe(9 * MIB + 12_345);
  expect(await restoreJob(store, to.path)).toMatchObject({ filesKept: 2, bytesFetched: 0 });
});

test('zeros take the place of what a file on disk has there', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeSparse(`${from.path}/a`, 12 * MIB, [0]);
  const service = createMemoryService();
  await committed(testCheckpointer(service.connect(), from.path));
  await writeSparse(`${to.path}/a`, 12 * MIB, [0, 5 * MIB]);
  expect(await restoreJob(service.connect(), to.path)).toMatchObject({ bytesFetched: 0 });
  expect(await readIsland(`${to.path}/a`, 5 * MIB)).toBe('');
  expect(await readIsland(`${to.path}/a`, 0)).toBe('island at 0');
});
