import { truncate, writeFile } from 'node:fs/promises';

import { expect, test } from 'vitest';

import { parseSetFormat } from '../../../src/checkpoint/format/manifest-json.ts';
import { readEntry } from '../../../src/checkpoint/index/entries.ts';
import {
  PLACE,
  SET_PREFIX,
  commitJob,
  committed,
  never,
  restoreJob,
  testCheckpointer,
} from '../../support/checkpoints.ts';
import { changeFile, pattern, readTree, testFolder } from '../../support/file-tree.ts';
import { type MemoryBlobs, createMemoryBlobs } from '../../support/memory-blobs.ts';
import { MIB, entryBlob, manifestOf, noting, packBytes } from './rig.ts';

const NAME = `${SET_PREFIX}format.json`;

async function folderOf(bytes = 3 * MIB) {
  const folder = await testFolder();
  await writeFile(`${folder.path}/state`, pattern(bytes));
  return folder;
}

async function keyOf(blobs: MemoryBlobs, id: string) {
  const { entry } = await readEntry(blobs.connect(), PLACE, id, never());
  return entry.kind === 'checkpoint' ? entry.hash.key : undefined;
}

test('all writers of a set have one key, whoever was first', async () => {
  await using folder = await folderOf();
  const blobs = createMemoryBlobs();
  const writers = Array.from({ length: 4 }, (_, number) =>
    testCheckpointer(blobs.connect(), folder.path, { vmName: `vm-${number}` }),
  );
  await Promise.allSettled(writers.map((writer) => writer.stage('job', never())));
  const last = testCheckpointer(blobs.connect(), folder.path, { vmName: 'last' });
  const { id } = await committed(last);
  const format = parseSetFormat(blobs.content(NAME) ?? Buffer.alloc(0), NAME);
  expect(await keyOf(blobs, id)).toBe(format.hash.key);
});

test('once there is a checkpoint it says its own key: nobody asks for another', async () => {
  await using folder = await folderOf();
  await using to = await testFolder();
  const blobs = createMemoryBlobs();
  await committed(testCheckpointer(blobs.connect(), folder.path));
  blobs.remove(NAME);
  const store = blobs.connect();
  await changeFile(`${folder.path}/state`, Buffer.concat([pattern(3 * MIB), Buffer.from('more')]));
  const { id } = await committed(testCheckpointer(store, folder.path));
  expect(packBytes(store)).toBeLessThan(MIB / 2);
  expect(blobs.names()).not.toContain(NAME);
  expect(await keyOf(blobs, id)).toBe(await keyOf(blobs, '00000002'));
  await restoreJob(blobs.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(folder.path));
});

test.each([
  '',
  'null',
  '{"version":1}',
  '{"version":1,"hash":{"name":"gmac-128","key":"short"}}',
  'x'.repeat(5000),
])('one that is %j is told of, and costs nothing but what was staged', async (text) => {
  await using folder = await folderOf();
  await using to = await testFolder();
  const blobs = createMemoryBlobs();
  await testCheckpointer(blobs.connect(), folder.path).stage('job', never());
  blobs.corrupt(NAME, () => Buffer.from(text));
  const { messages, onNote } = noting();
  const { id } = await committed(testCheckpointer(blobs.connect(), folder.path, { onNote }));
  expect(messages).toEqual([expect.stringContaining(NAME)]);
  const next = blobs.connect();
  expect(await committed(testCheckpointer(next, folder.path, { onNote }))).toMatchObject({ id });
  expect(packBytes(next)).toBeLessThan(2048);
  expect(messages).toHaveLength(1);
  await restoreJob(blobs.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(folder.path));
});

test('one of a newer format is left alone: nothing is written beside it', async () => {
  await using folder = await folderOf();
  const blobs = createMemoryBlobs();
  await testCheckpointer(blobs.connect(), folder.path).stage('job', never());
  blobs.corrupt(NAME, (body) => Buffer.from(body.toString().replace(/"version": ?1/, '"version": 2')));
  const before = blobs.names();
  const result = await commitJob(testCheckpointer(blobs.connect(), folder.path));
  expect(result).toMatchObject({ kind: 'failed', code: 'manifest-version', retryable: false });
  expect(blobs.names()).toEqual(before);
});

test('an index of another store, or of one that was emptied since, is not believed', async () => {
  await using folder = await folderOf();
  await using other = await folderOf(5 * MIB);
  await using state = await testFolder();
  await using to = await testFolder();
  const options = { indexDirectory: state.path };
  const elsewhere = testCheckpointer(createMemoryBlobs().connect(), folder.path, options);
  await committed(elsewhere);
  await elsewhere.close();
  const { codes, onNote } = noting();
  const blobs = createMemoryBlobs();
  await committed(testCheckpointer(blobs.connect(), other.path));
  const here = testCheckpointer(blobs.connect(), folder.path, { ...options, onNote });
  const { id } = await committed(here);
  await here.close();
  expect(await keyOf(blobs, id)).toBe(await keyOf(blobs, '00000002'));
  await restoreJob(blobs.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(folder.path));

  for (const name of blobs.names()) blobs.remove(name);
  const after = testCheckpointer(blobs.connect(), folder.path, { ...options, onNote });
  const { id: later } = await committed(after);
  await after.close();
  expect(codes).toEqual(['store-went-back']);
  // No id that anybody may have seen comes back.
  expect(later > id).toBe(true);
  expect(blobs.names()).toContain(entryBlob(later));
  await restoreJob(blobs.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(folder.path));
});

test('a set of more than a tebibyte has larger chunks and packs, and keeps them when it shrinks', async () => {
  await using folder = await folderOf();
  await using to = await testFolder();
  const blobs = createMemoryBlobs();
  await truncate(`${folder.path}/state`, 1.5 * 1024 * 1024 * MIB);
  const checkpointer = testCheckpointer(blobs.connect(), folder.path);
  // As the daemon does it at its start.
  await checkpointer.prepare('job', never());
  await committed(checkpointer);
  const cutOf = (id: string) => manifestOf(blobs, id).cut;
  expect(cutOf('00000002')).toEqual({ chunkBytes: 4 * MIB, packBytes: 32 * MIB });
  await writeFile(`${folder.path}/state`, pattern(9 * MIB, 2));
  const next = testCheckpointer(blobs.connect(), folder.path, { bootId: 'another' });
  const { id } = await committed(next);
  expect(cutOf(id)).toEqual({ chunkBytes: 4 * MIB, packBytes: 32 * MIB });
  await restoreJob(blobs.connect(), to.path, id);
  expect(await readTree(to.path)).toEqual(await readTree(folder.path));
});
