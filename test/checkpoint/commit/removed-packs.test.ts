import { expect, test } from 'vitest';

import {
  committed,
  commitJob,
  never,
  restoreJob,
  shiftedClock,
  testCheckpointer,
} from '../../support/checkpoints.ts';
import { changeFile, pattern, readTree, testFolder, writeTree } from '../../support/file-tree.ts';
import { type MemoryBlobs, countCalls, createMemoryBlobs } from '../../support/memory-blobs.ts';
import { MIB, noting, packBytes, packNames } from './rig.ts';

const TREE = {
  big: { kind: 'file', content: pattern(12 * MIB) },
  state: { kind: 'file', content: 'state' },
  other: { kind: 'file', content: 'other' },
} as const;

async function folderOf() {
  const from = await testFolder();
  await writeTree(from.path, TREE);
  return from;
}

async function expectRestored(blobs: MemoryBlobs, path: string): Promise<void> {
  await using to = await testFolder();
  await restoreJob(blobs.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(path));
}

test.each(['removed', 'moved to the archive', 'cut'])(
  'packs that a rule of the account has %s are sent again, each of them, by the running daemon and by the next one',
  async (how) => {
    for (const isRestarted of [false, true]) {
      await using from = await folderOf();
      const all = createMemoryBlobs();
      await committed(testCheckpointer(all.connect(), from.path));
      for (const gone of packNames(all).keys()) {
        await using state = await testFolder();
        const blobs = createMemoryBlobs();
        const clock = shiftedClock();
        const { codes, onNote } = noting();
        const options = { clock, indexDirectory: state.path, onNote };
        let checkpointer = testCheckpointer(blobs.connect(), from.path, options);
        await committed(checkpointer);
        const name = packNames(blobs)[gone] ?? '';
        if (how === 'removed') blobs.remove(name);
        else if (how === 'cut') blobs.corrupt(name, (content) => content.subarray(0, 20));
        else blobs.archive(name);
        clock.advance(16 * 60_000);
        if (isRestarted) {
          await checkpointer.close();
          checkpointer = testCheckpointer(blobs.connect(), from.path, options);
        }
        const { id } = await committed(checkpointer);
        expect(id).toBe('00000003');
        // Of what held a piece of the tree nobody is told: files needn't be read for it.
        expect(codes.length).toBeLessThanOrEqual(1);
        await expectRestored(blobs, from.path);
        await checkpointer.close();
      }
    }
  },
);

test('a pack that is removed while its file changes takes the rest of it along', async () => {
  await using from = await folderOf();
  const blobs = createMemoryBlobs();
  const clock = shiftedClock();
  const { codes, onNote } = noting();
  const store = blobs.connect();
  const checkpointer = testCheckpointer(store, from.path, { clock, onNote });
  await committed(checkpointer);
  const content = pattern(12 * MIB);
  content.write('changed', 5 * MIB);
  await changeFile(`${from.path}/big`, content);
  for (const name of packNames(blobs)) blobs.remove(name);
  clock.advance(16 * 60_000);
  const before = packBytes(store);
  await committed(checkpointer);
  expect(packBytes(store) - before).toBeGreaterThan(12 * MIB);
  expect(codes).toEqual(['packs-gone']);
  await expectRestored(blobs, from.path);
});

test('what was staged and is gone is sent again', async () => {
  await using from = await folderOf();
  const blobs = createMemoryBlobs();
  const clock = shiftedClock();
  const checkpointer = testCheckpointer(blobs.connect(), from.path, { clock });
  await checkpointer.stage('job', never());
  for (const name of packNames(blobs)) blobs.remove(name);
  clock.advance(16 * 60_000);
  await committed(checkpointer);
  await expectRestored(blobs, from.path);
});

test('packs that are there are asked for once in a quarter of an hour', async () => {
  await using from = await folderOf();
  const store = createMemoryBlobs().connect();
  const clock = shiftedClock();
  const checkpointer = testCheckpointer(store, from.path, { clock });
  for (let minute = 0; minute < 40; minute++) {
    await committed(checkpointer);
    clock.advance(60_000);
  }
  expect(countCalls(store, 'list', '/packs/')).toBe(3);
});

test('a pack of the name of a new one is not overwritten, and costs that attempt', async () => {
  await using from = await folderOf();
  const blobs = createMemoryBlobs();
  let isTaken = false;
  const store = blobs.connect({
    async before({ operation, name }) {
      if (operation !== 'create' || !name.includes('/packs/') || isTaken) return;
      isTaken = true;
      await blobs.connect().create(name, Buffer.from('of somebody else'), { contentType: '' }, never());
    },
  });
  const checkpointer = testCheckpointer(store, from.path);
  expect(await commitJob(checkpointer)).toMatchObject({
    kind: 'failed',
    code: 'pack-taken',
    retryable: true,
  });
  await committed(checkpointer);
  await expectRestored(blobs, from.path);
});
