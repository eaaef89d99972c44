import { writeFile } from 'node:fs/promises';

import { expect, test } from 'vitest';

import { newHashKey } from '../../src/checkpoint/block-id.ts';
import { leaveHashKey } from '../../src/checkpoint/hash-key.ts';
import { readManifest } from '../../src/checkpoint/manifest.ts';
import { committed, commitJob, never, PLACE, restoreJob, testCheckpointer } from '../support/checkpoints.ts';
import { pattern, readTree, testFolder } from '../support/file-tree.ts';
import { countCalls, createMemoryService, storeError } from '../support/memory-store.ts';

const MIB = 1024 ** 2;
const SET = 'p/vm-1/job/';
const NAME = `${SET}hash-key.json`;
const MANIFEST = `${SET}checkpoints/00000001.json`;
const BLOCKS = 3;

async function folderOf(bytes = BLOCKS * 4 * MIB) {
  const folder = await testFolder();
  await writeFile(`${folder.path}/state`, pattern(bytes));
  return folder;
}

function noting() {
  const notes: string[] = [];
  return { notes, onNote: (_set: string, { message }: Error) => void notes.push(message) };
}

test('what one VM staged before the first checkpoint is found by the next one', async () => {
  await using folder = await folderOf();
  const service = createMemoryService();
  const first = service.connect();
  await testCheckpointer(first, folder.path).stage('job', never());
  expect(countCalls(first, 'stageBlock')).toBe(BLOCKS);
  const second = service.connect();
  await committed(testCheckpointer(second, folder.path, { vmName: 'vm-2' }));
  expect(countCalls(second, 'stageBlock')).toBe(0);
});

test('two writers that find none get the same one', async () => {
  const service = createMemoryService();
  const keys = await Promise.all(
    Array.from({ length: 4 }, () => leaveHashKey(service.connect(), SET, newHashKey(), never())),
  );
  expect(new Set(keys).size).toBe(1);
});

test('a write whose answer got lost is read back', async () => {
  const service = createMemoryService();
  const key = newHashKey();
  const store = service.connect();
  const losing: typeof store = {
    ...store,
    async put(...call) {
      await store.put(...call);
      throw storeError('conflict', 'what a second try is told');
    },
  };
  expect(await leaveHashKey(losing, SET, key, never())).toBe(key);
});

test('where it can not be written the checkpoint is made all the same, and says its key', async () => {
  await using folder = await folderOf();
  const service = createMemoryService();
  const store = service.connect({
    before({ operation, name }) {
      if (operation === 'put' && name === NAME) throw storeError('unavailable', 'not now');
    },
  });
  await committed(testCheckpointer(store, folder.path));
  expect(service.names()).not.toContain(NAME);
  const next = service.connect();
  await committed(testCheckpointer(next, folder.path));
  expect(countCalls(next, 'stageBlock')).toBe(0);
});

test('to look at what is there leaves none', async () => {
  await using folder = await folderOf();
  const service = createMemoryService();
  await testCheckpointer(service.connect(), folder.path).prepare('job', never());
  expect(service.names()).toEqual([]);
});

test('once there is a checkpoint it says its own key: nobody asks for another', async () => {
  await using folder = await folderOf();
  await using to = await testFolder();
  const service = createMemoryService();
  await committed(testCheckpointer(service.connect(), folder.path));
  await service.connect().remove(NAME, {}, never());
  const next = service.connect();
  await committed(testCheckpointer(next, folder.path));
  expect(countCalls(next, 'stageBlock')).toBe(0);
  expect(service.names()).not.toContain(NAME);
  await restoreJob(service.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(folder.path));
});

test.each(['', 'null', '{"version":1}', '{"version":1,"hashKey":"short"}', 'x'.repeat(5000)])(
  'one that is %j is told of and costs nothing but what was staged',
  async (text) => {
    await using folder = await folderOf();
    const service = createMemoryService();
    await testCheckpointer(service.connect(), folder.path).stage('job', never());
    service.corrupt(NAME, () => Buffer.from(text));
    const { notes, onNote } = noting();
    await committed(testCheckpointer(service.connect(), folder.path, { onNote }));
    expect(notes).toEqual([expect.stringContaining(NAME)]);
    const next = service.connect();
    await committed(testCheckpointer(next, folder.path, { onNote }));
    expect(countCalls(next, 'stageBlock')).toBe(0);
    expect(notes).toHaveLength(1);
  },
);

test('when the store was emptied, the file index stays of use', async () => {
  await using folder = await folderOf();
  await using index = await testFolder();
  const options = { indexDirectory: index.path };
  const before = testCheckpointer(createMemoryService().connect(), folder.path, options);
  await committed(before);
  await before.close();
  const after = testCheckpointer(createMemoryService().connect(), folder.path, options);
  await committed(after);
  // Known from the index, so each block is only read to be sent.
  expect(after.activity().get('job')).toMatchObject({ bytesRead: BLOCKS * 4 * MIB });
  await after.close();
});

test('an index that was made with another key is not believed', async () => {
  await using folder = await folderOf();
  await using other = await folderOf(5 * MIB);
  await using index = await testFolder();
  await using to = await testFolder();
  const options = { indexDirectory: index.path };
  const elsewhere = testCheckpointer(createMemoryService().connect(), folder.path, options);
  await committed(elsewhere);
  await elsewhere.close();
  const service = createMemoryService();
  await committed(testCheckpointer(service.connect(), other.path));
  const here = testCheckpointer(service.connect(), folder.path, options);
  await committed(here);
  await here.close();
  const keys = ['00000001', '00000002'].map(async (id) => {
    const { hashKey } = await readManifest(service.connect(), PLACE, id, never());
    return hashKey;
  });
  expect(new Set(await Promise.all(keys)).size).toBe(1);
  await restoreJob(service.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(folder.path));
});

test('a newest manifest of an earlier version is told of, and the next checkpoint is whole', async () => {
  await using folder = await folderOf();
  await using to = await testFolder();
  const service = createMemoryService();
  await committed(testCheckpointer(service.connect(), folder.path));
  service.corrupt(MANIFEST, (body) => Buffer.from(body.toString().replace('"version":3', '"version":2')));
  const { notes, onNote } = noting();
  const checkpointer = testCheckpointer(service.connect(), folder.path, { onNote });
  expect(await commitJob(checkpointer)).toMatchObject({ kind: 'committed', id: '00000002' });
  expect(notes).toEqual([expect.stringContaining('earlier version')]);
  await restoreJob(service.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(folder.path));
});
