import { expect, test } from 'vitest';

import { committed, laterClock, never, restoreJob, testCheckpointer } from '../support/checkpoints.ts';
import { changeFile, pattern, readTree, testFolder, writeTree } from '../support/file-tree.ts';
import { countCalls, createMemoryService } from '../support/memory-store.ts';

const MIB = 1024 ** 2;
const PREFIX = 'p/vm-1/job/';
const TREE = {
  big: { kind: 'file', content: pattern(9 * MIB) },
  state: { kind: 'file', content: 'state' },
  gone: { kind: 'file', content: 'gone' },
} as const;

/** A clock that can be put on by days. */
function movableClock() {
  let days = 0;
  const clock = { ...laterClock, monotonicMs: () => laterClock.monotonicMs() + days * 86_400_000 };
  return { clock, putOn: (more: number) => void (days += more) };
}

test('blobs and snapshots that a rule of the account removed are made anew a day later', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, TREE);
  const service = createMemoryService();
  const { clock, putOn } = movableClock();
  const store = service.connect();
  const checkpointer = testCheckpointer(store, from.path, { clock });
  await committed(checkpointer);
  const rule = service.connect();
  await rule.remove(`${PREFIX}files/gone`, {}, never());
  for await (const { name, snapshot } of rule.list(`${PREFIX}files/`, never(), { snapshots: true })) {
    if (snapshot !== undefined) await rule.remove(name, { snapshot }, never());
  }
  putOn(1.1);
  expect(await committed(checkpointer)).toMatchObject({ id: '00000002', bytesSent: 4 });
  expect(countCalls(store, 'list')).toBe(4);
  await restoreJob(service.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});

test('a blob that is removed while its file changes is written anew, all of it', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, TREE);
  const service = createMemoryService();
  const checkpointer = testCheckpointer(service.connect(), from.path);
  await committed(checkpointer);
  const content = pattern(9 * MIB);
  content.write('changed', 5 * MIB);
  await changeFile(`${from.path}/big`, content);
  await changeFile(`${from.path}/state`, 'other');
  const rule = service.connect();
  for (const name of ['files/big', 'files/state', 'writer.json']) {
    await rule.remove(PREFIX + name, {}, never());
  }
  expect(await committed(checkpointer)).toMatchObject({ id: '00000002' });
  await restoreJob(service.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});

test('a commit in a drain does not look for what was removed', async () => {
  await using from = await testFolder();
  await writeTree(from.path, TREE);
  const { clock, putOn } = movableClock();
  const store = createMemoryService().connect();
  const checkpointer = testCheckpointer(store, from.path, { clock });
  await committed(checkpointer);
  const lists = countCalls(store, 'list');
  putOn(10);
  await checkpointer.commit({ set: 'job', reason: 'notice' }, never());
  expect(countCalls(store, 'list')).toBe(lists);
});
