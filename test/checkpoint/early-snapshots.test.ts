import { expect, test } from 'vitest';

import { PLACE, committed, never, restoreJob, testCheckpointer } from '../support/checkpoints.ts';
import { changeFile, pattern, readTree, testFolder, writeTree } from '../support/file-tree.ts';
import { countCalls, createMemoryService, storeError } from '../support/memory-store.ts';

test('a small file has its snapshot while others are still being sent', async () => {
  await using from = await testFolder();
  await writeTree(from.path, {
    one: { kind: 'file', content: 'one' },
    two: { kind: 'file', content: 'two' },
  });
  const snapshot = Promise.withResolvers<void>();
  const store = createMemoryService().connect({
    before: ({ operation, name }) =>
      operation === 'put' && name.endsWith('files/two') ? snapshot.promise : undefined,
    after({ operation, name }) {
      if (operation === 'snapshot' && name.endsWith('files/one')) snapshot.resolve();
    },
  });
  // It would never end if all had to be sent first.
  expect(await committed(testCheckpointer(store, from.path))).toMatchObject({ files: 2 });
  expect(countCalls(store, 'snapshot')).toBe(2);
});

test('a scheduled commit makes snapshots only of what becomes a checkpoint', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { one: { kind: 'file', content: 'one' } });
  let changes = 0;
  const store = createMemoryService().connect({
    async after({ operation, name }) {
      if (operation === 'put' && name.endsWith('files/one') && changes++ === 0)
        await changeFile(`${from.path}/one`, 'another');
    },
  });
  const checkpointer = testCheckpointer(store, from.path);
  const result = await checkpointer.commit({ set: PLACE.set, reason: 'schedule' }, never());
  expect(result).toMatchObject({ kind: 'committed' });
  expect(countCalls(store, 'put', 'files/one')).toBe(2);
  expect(countCalls(store, 'snapshot')).toBe(1);
});

test('a file that is written to after its snapshot is in the checkpoint as it became', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { one: { kind: 'file', content: 'one' } });
  let changes = 0;
  const service = createMemoryService();
  const store = service.connect({
    async after({ operation }) {
      if (operation === 'snapshot' && changes++ === 0) await changeFile(`${from.path}/one`, 'another');
    },
  });
  await committed(testCheckpointer(store, from.path));
  await using to = await testFolder();
  await restoreJob(service.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});

test('a snapshot that fails at first is made when all has been sent', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { one: { kind: 'file', content: 'one' } });
  let fails = 1;
  const store = createMemoryService().connect({
    before({ operation }) {
      if (operation === 'snapshot' && fails-- > 0) throw storeError('throttled', 'busy');
    },
  });
  expect(await committed(testCheckpointer(store, from.path))).toMatchObject({ files: 1 });
  expect(countCalls(store, 'snapshot')).toBe(2);
});

test('what a write brings its own snapshot for needs no other, and is restored from that', async () => {
  await using from = await testFolder();
  await writeTree(from.path, {
    empty: { kind: 'file', content: '' },
    small: { kind: 'file', content: 'small' },
    large: { kind: 'file', content: pattern(9 * 1024 ** 2) },
  });
  const service = createMemoryService();
  const store = service.connect({ snapshotsAtOnce: true });
  const checkpointer = testCheckpointer(store, from.path);
  const first = await committed(checkpointer);
  const before = await readTree(from.path);
  expect(countCalls(store, 'snapshot')).toBe(0);
  for (const name of Object.keys(before)) await changeFile(`${from.path}/${name}`, 'changed');
  await committed(checkpointer);
  expect(countCalls(store, 'snapshot')).toBe(0);
  for (const [at, content] of [
    [first.id, before],
    [undefined, await readTree(from.path)],
  ] as const) {
    await using to = await testFolder();
    await restoreJob(service.connect(), to.path, at);
    expect(await readTree(to.path)).toEqual(content);
  }
});
