import { expect, test } from 'vitest';

import { committed, never, restoreJob, testCheckpointer } from '../support/checkpoints.ts';
import { changeFile, pattern, readTree, testFolder, writeTree } from '../support/file-tree.ts';
import { type ClientHooks, countCalls, createMemoryService, storeError } from '../support/memory-store.ts';

const KIB = 1024;

/** More than go together, small ones and others, by number. */
function sizeOf(number: number): number {
  return [0, 1, 700, 64 * KIB, 200 * KIB, 256 * KIB, 256 * KIB + 1][number % 7] ?? 0;
}

async function filesIn(folder: string): Promise<void> {
  const files = Array.from({ length: 60 }, (_, number) => {
    const content = pattern(sizeOf(number), number);
    return [`folder-${number % 3}/${number}`, { kind: 'file', content }] as const;
  });
  await writeTree(folder, Object.fromEntries(files));
}

/** Commits all of it, and answers what a restore brings back. */
async function savedTree(from: string, hooks: ClientHooks = {}, service = createMemoryService()) {
  const store = service.connect({ snapshotsAtOnce: true, ...hooks });
  const { id } = await committed(testCheckpointer(store, from));
  await using to = await testFolder();
  await restoreJob(service.connect(), to.path, id);
  return { store, tree: await readTree(to.path) };
}

test('small files of all sizes go together, and come back', async () => {
  await using from = await testFolder();
  await filesIn(from.path);
  const { store, tree } = await savedTree(from.path);
  expect(tree).toEqual(await readTree(from.path));
  expect(countCalls(store, 'put', '/files/')).toBe(60);
  // Of the 8 that aren't small.
  expect(countCalls(store, 'snapshot')).toBe(8);
});

test('one that changes when it is about to be read is in the checkpoint as it became', async () => {
  await using from = await testFolder();
  await filesIn(from.path);
  let changes = 0;
  const { tree } = await savedTree(from.path, {
    async before({ operation, name }) {
      if (operation !== 'put' || !name.includes('/files/') || changes++ > 0) return;
      for (const number of [2, 3, 50, 58])
        await changeFile(`${from.path}/folder-${number % 3}/${number}`, 'changed');
    },
  });
  expect(tree).toEqual(await readTree(from.path));
});

test('one whose write meets an earlier one of the same process is written over it', async () => {
  await using from = await testFolder();
  await filesIn(from.path);
  const late = new Set(['2', '57']);
  const { store, tree } = await savedTree(from.path, {
    after({ operation, name }) {
      // As if a first try had taken effect unseen.
      if (operation === 'put' && late.delete(name.split('/').at(-1) ?? ''))
        throw storeError('conflict', name);
    },
  });
  expect(tree).toEqual(await readTree(from.path));
  expect(countCalls(store, 'put', '/files/')).toBeGreaterThan(62);
});

test('one that fails for good fails the checkpoint, and the others of its group are known to be written', async () => {
  await using from = await testFolder();
  for (const name of ['one', 'two', 'three'])
    await writeTree(from.path, { [name]: { kind: 'file', content: name } });
  let isBroken = true;
  const store = createMemoryService().connect({
    snapshotsAtOnce: true,
    before({ operation, name }) {
      if (isBroken && operation === 'put' && name.endsWith('/files/two')) throw storeError('forbidden', name);
    },
  });
  const checkpointer = testCheckpointer(store, from.path);
  await expect(committed(checkpointer)).rejects.toThrow(/files\/two/);
  isBroken = false;
  await committed(checkpointer);
  expect(['one', 'two', 'three'].map((name) => countCalls(store, 'put', `/files/${name}`))).toEqual([
    1, 2, 1,
  ]);
});

test('what an earlier process staged of one is not sent again', async () => {
  await using from = await testFolder();
  await writeTree(from.path, {
    staged: { kind: 'file', content: pattern(200 * KIB) },
    other: { kind: 'file', content: pattern(200 * KIB, 1) },
  });
  const service = createMemoryService();
  const earlier = testCheckpointer(service.connect(), from.path, { set: { exclude: ['other'] } });
  await earlier.stage('job', never());
  const { store } = await savedTree(from.path, {}, service);
  expect(countCalls(store, 'put', '/files/')).toBe(1);
  expect(countCalls(store, 'commitBlocks', '/files/staged')).toBe(1);
  expect(store.calls.reduce((sum, { bytes }) => sum + bytes, 0)).toBeLessThan(300 * KIB);
});
