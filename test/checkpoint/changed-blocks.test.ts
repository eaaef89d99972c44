import { open, writeFile } from 'node:fs/promises';

import { expect, test } from 'vitest';

import { committed, never, restoreJob, testCheckpointer } from '../support/checkpoints.ts';
import { changeFile, pattern, readTree, testFolder } from '../support/file-tree.ts';
import { countCalls, createMemoryService } from '../support/memory-store.ts';

const MIB = 1024 ** 2;
const BLOCK = 4 * MIB;
const SIZE = 10 * BLOCK + 1234;

async function changeAt(path: string, ...positions: number[]): Promise<void> {
  await using file = await open(path, 'r+');
  for (const position of positions) await file.write('changed', position);
}

test('of a large file only the blocks that changed are sent', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  const path = `${from.path}/large`;
  await writeFile(path, pattern(SIZE));
  const service = createMemoryService();
  const client = service.connect();
  const checkpointer = testCheckpointer(client, from.path);
  await checkpointer.stage('job', never());
  const staged = countCalls(client, 'stageBlock');
  expect(staged).toBe(11);
  // The first change lies across two blocks, the last one in the short one at the end.
  await changeAt(path, 3 * BLOCK - 3, 7 * BLOCK, SIZE - 7);
  await committed(checkpointer);
  expect(countCalls(client, 'stageBlock')).toBe(staged + 4);
  await restoreJob(service.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});

test('block ids are kept between processes', async () => {
  await using from = await testFolder();
  await using state = await testFolder();
  const path = `${from.path}/large`;
  await writeFile(path, pattern(SIZE));
  const service = createMemoryService();
  const options = { indexDirectory: state.path };
  const first = testCheckpointer(service.connect(), from.path, options);
  await committed(first);
  await first.close();
  await changeAt(path, 5 * BLOCK);
  const client = service.connect();
  const second = testCheckpointer(client, from.path, options);
  expect((await committed(second)).bytesSent).toBe(BLOCK);
  // All of it is looked at, and one block is read again to be sent.
  expect(second.activity().get('job')).toMatchObject({ bytesRead: SIZE + BLOCK });
  await second.close();
});

test('blocks that moved, a file that grew and one that shrank are sent by what they hold', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  const path = `${from.path}/large`;
  const content = pattern(SIZE);
  await writeFile(path, content);
  const service = createMemoryService();
  const client = service.connect();
  const checkpointer = testCheckpointer(client, from.path);
  await committed(checkpointer);
  const staged = () => countCalls(client, 'stageBlock');
  const before = staged();
  await changeFile(
    path,
    Buffer.concat([content.subarray(BLOCK, 3 * BLOCK), content.subarray(0, BLOCK), content]),
  );
  await committed(checkpointer);
  expect(staged()).toBe(before);
  await changeFile(path, content.subarray(0, 2 * BLOCK + 5));
  await committed(checkpointer);
  expect(staged()).toBe(before + 1);
  await changeFile(path, Buffer.concat([content.subarray(0, 2 * BLOCK + 5), Buffer.alloc(BLOCK)]));
  await committed(checkpointer);
  await restoreJob(service.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});
