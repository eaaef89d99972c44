import { chmod } from 'node:fs/promises';

import { expect, test } from 'vitest';

import {
  SET_PREFIX,
  commitJob,
  committed,
  never,
  restoreJob,
  shiftedClock,
  testCheckpointer,
} from '../../support/checkpoints.ts';
import { changeFile, pattern, readTree, testFolder, writeTree } from '../../support/file-tree.ts';
import { countCalls, createMemoryBlobs } from '../../support/memory-blobs.ts';
import { MIB, entryIds, failing, manifestOf, packNames } from './rig.ts';

const TREE = {
  big: { kind: 'file', content: pattern(3 * MIB) },
  'd/b': { kind: 'file', content: 'b' },
} as const;

test('what equals the newest checkpoint is answered as that one, after it was looked for, and nothing is sent', async () => {
  await using from = await testFolder();
  await writeTree(from.path, TREE);
  const blobs = createMemoryBlobs();
  const store = blobs.connect();
  const checkpointer = testCheckpointer(store, from.path);
  await committed(checkpointer);
  const before = blobs.names();
  const lists = countCalls(store, 'list', '/checkpoints/');
  for (const reason of ['command', 'notice', 'shutdown'] as const) {
    const result = await checkpointer.commit({ set: 'job', reason }, never());
    expect(result).toMatchObject({ kind: 'committed', id: '00000002', files: 2, bytesSent: 0 });
  }
  expect(countCalls(store, 'list', '/checkpoints/')).toBe(lists + 3);
  expect(blobs.names()).toEqual(before);
  await chmod(`${from.path}/d/b`, 0o600);
  expect(await committed(checkpointer)).toMatchObject({ id: '00000003' });
});

test("a guest has the equal one of others, but others make their own after a guest's", async () => {
  await using from = await testFolder();
  await writeTree(from.path, TREE);
  const blobs = createMemoryBlobs();
  const checkpointer = testCheckpointer(blobs.connect(), from.path);
  const ofGuest = { set: 'job', reason: 'command', isGuest: true } as const;
  await committed(checkpointer);
  expect(await checkpointer.commit(ofGuest, never())).toMatchObject({ id: '00000002' });
  await changeFile(`${from.path}/d/b`, 'c');
  for (let times = 0; times < 2; times++)
    expect(await checkpointer.commit(ofGuest, never())).toMatchObject({ id: '00000003' });
  expect(await checkpointer.commitIfChanged('job', never())).toMatchObject({ id: '00000004' });
  expect(await checkpointer.commitIfChanged('job', never())).toBeUndefined();
  expect(await checkpointer.commit(ofGuest, never())).toMatchObject({ id: '00000004' });
  const guests = ['00000002', '00000003', '00000004'].map((id) => manifestOf(blobs, id).guest);
  expect(guests).toEqual([undefined, true, undefined]);
});

test('a scheduled commit is left out when nothing has changed since the last one', async () => {
  await using from = await testFolder();
  await writeTree(from.path, TREE);
  const blobs = createMemoryBlobs();
  const checkpointer = testCheckpointer(blobs.connect(), from.path);
  expect(await checkpointer.commitIfChanged('job', never())).toMatchObject({ id: '00000002' });
  expect(await checkpointer.commitIfChanged('job', never())).toBeUndefined();
  expect(entryIds(blobs)).toEqual(['00000001', '00000002']);
  await changeFile(`${from.path}/d/b`, 'c');
  expect(await checkpointer.commitIfChanged('job', never())).toMatchObject({ id: '00000003' });
});

test('a successor with equal files makes no checkpoint, and sends the tree once at most, however often it is asked', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, TREE);
  const blobs = createMemoryBlobs();
  await committed(testCheckpointer(blobs.connect(), from.path));
  const store = blobs.connect();
  const next = testCheckpointer(store, from.path, { vmName: 'vm-2' });
  for (let round = 0; round < 4; round++) {
    expect(await committed(next)).toMatchObject({ id: '00000002', files: 2 });
    expect(countCalls(store, 'create', '/packs/')).toBeLessThanOrEqual(1);
  }
  expect(entryIds(blobs)).toEqual(['00000001', '00000002', '00000003']);
  // Its own next one is whole, whichever places of the tree it uses.
  await changeFile(`${from.path}/d/b`, 'c');
  expect(await committed(next)).toMatchObject({ id: '00000004' });
  await restoreJob(blobs.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});

test('a checkpoint whose own list of files is gone is no equal one', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, TREE);
  const blobs = createMemoryBlobs();
  const clock = shiftedClock();
  const checkpointer = testCheckpointer(blobs.connect(), from.path, { clock });
  await committed(checkpointer);
  for (const { name } of manifestOf(blobs, '00000002').metadata) blobs.remove(`${SET_PREFIX}packs/${name}`);
  // Packs are listed anew.
  clock.advance(3_600_000);
  expect(await committed(checkpointer)).toMatchObject({ id: '00000003' });
  await restoreJob(blobs.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
  expect(packNames(blobs)).toHaveLength(2);
});

test('as long as the same files can not be read, whichever is told of first, there is one checkpoint', async () => {
  await using from = await testFolder();
  const bad = Array.from({ length: 30 }, (_, at) => `bad-${at}`);
  await writeTree(from.path, {
    ...TREE,
    ...Object.fromEntries(bad.map((name) => [name, { kind: 'file', content: name } as const])),
  });
  const blobs = createMemoryBlobs();
  const commit = async (first: string) => {
    const checkpointer = testCheckpointer(blobs.connect(), from.path, {
      set: { first: [first] },
      workers: failing((path) => path.startsWith('bad-')),
    });
    const result = await commitJob(checkpointer);
    await checkpointer.close();
    return result;
  };
  for (const first of ['bad-7', 'bad-3']) {
    expect(await commit(first)).toMatchObject({ kind: 'failed', code: 'file-failed', id: '00000002' });
  }
});
