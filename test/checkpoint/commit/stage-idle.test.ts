import { appendFile, open } from 'node:fs/promises';

import { expect, test } from 'vitest';

import { createPace } from '../../../src/checkpoint/commit/pace.ts';
import {
  commitJob,
  committed,
  laterClock,
  never,
  restoreJob,
  shiftedClock,
  testCheckpointer,
} from '../../support/checkpoints.ts';
import { changeFile, pattern, readTree, testFolder, writeTree } from '../../support/file-tree.ts';
import { countCalls, createMemoryBlobs } from '../../support/memory-blobs.ts';
import { MIB, afterReading, packBytes, packNames } from './rig.ts';

const pace = createPace({ bytesPerSecond: Infinity }, { clock: laterClock });
const IDLE = { idleMs: 5000, pace };

test('full packs of what is quiet are staged, and a commit sends only the rest; what was just written is left alone', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, {
    a: { kind: 'file', content: pattern(40.5 * MIB) },
    b: { kind: 'file', content: 'b' },
  });
  const blobs = createMemoryBlobs();
  const store = blobs.connect();
  // The files are an hour old for this clock, and were just written for the other.
  const busy = testCheckpointer(store, from.path, { clock: shiftedClock(0) });
  expect(await busy.stageIdle('job', IDLE, never())).toBeUndefined();
  expect(blobs.names()).toEqual([]);
  const checkpointer = testCheckpointer(store, from.path);
  await checkpointer.stageIdle('job', IDLE, never());
  // A takeover comes before the first pack, and says nothing of files.
  expect(blobs.names().filter((name) => !name.includes('/packs/'))).toEqual([
    'p/vm-1/sets/job/checkpoints/00000001.json',
    'p/vm-1/sets/job/format.json',
  ]);
  const staged = packBytes(store);
  expect(staged).toBeGreaterThan(32 * MIB);
  expect(packNames(blobs).every((name) => (blobs.content(name)?.length ?? 0) >= 7 * MIB)).toBe(true);
  expect(checkpointer.estimate().bytesLeft).toBeLessThan(9 * MIB);
  // Nothing of it again, as long as nothing else comes.
  await checkpointer.stageIdle('job', IDLE, never());
  await checkpointer.stageIdle('job', IDLE, never());
  expect(packBytes(store)).toBe(staged);
  await committed(checkpointer);
  expect(packBytes(store)).toBeLessThan(40.6 * MIB);
  await restoreJob(store, to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});

test('what fills no pack stays on disk until a commit', async () => {
  await using from = await testFolder();
  const store = createMemoryBlobs().connect();
  const checkpointer = testCheckpointer(store, from.path);
  await writeTree(from.path, { a: { kind: 'file', content: pattern(7 * MIB) } });
  await checkpointer.stageIdle('job', IDLE, never());
  expect(packBytes(store)).toBe(0);
  expect(checkpointer.estimate().bytesLeft).toBe(7 * MIB);
});

test('it gives way to a checkpoint at the next part, and what it sent is used', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { big: { kind: 'file', content: pattern(160 * MIB) } });
  const started = Promise.withResolvers<void>();
  const store = createMemoryBlobs().connect({
    before({ operation, name }) {
      if (operation === 'create' && name.includes('/packs/')) started.resolve();
    },
  });
  const checkpointer = testCheckpointer(store, from.path);
  // So slow that it would take an hour.
  const slow = createPace({ bytesPerSecond: 40_000 }, { clock: laterClock });
  const staging = checkpointer.stageIdle('job', { idleMs: 0, pace: slow }, never());
  await started.promise;
  await committed(checkpointer);
  await staging;
  expect(packBytes(store)).toBeLessThan(162 * MIB);
});

test('before it has sent anything it gives way at once, and says so', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { a: { kind: 'file', content: pattern(9 * MIB) } });
  const asked = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  const checkpointer = testCheckpointer(createMemoryBlobs().connect(), from.path, {
    workers: (inner) => ({
      ...inner,
      async look(job, signal) {
        asked.resolve();
        await go.promise;
        return inner.look(job, signal);
      },
    }),
  });
  const staging = checkpointer.stageIdle('job', IDLE, never());
  await asked.promise;
  const commit = committed(checkpointer);
  go.resolve();
  await expect(staging).rejects.toMatchObject({ code: 'gave-way' });
  await commit;
});

test('all that is read is counted by the pace, before it is read', async () => {
  await using from = await testFolder();
  const taken: number[] = [];
  const counting = { take: async (bytes: number) => void taken.push(bytes) };
  const checkpointer = testCheckpointer(createMemoryBlobs().connect(), from.path);
  const stage = () => checkpointer.stageIdle('job', { idleMs: 0, pace: counting }, never());
  await writeTree(from.path, {
    big: { kind: 'file', content: pattern(72 * MIB) },
    small: { kind: 'file', content: 'small' },
  });
  await stage();
  expect(taken.reduce((sum, bytes) => sum + bytes, 0)).toBe(72 * MIB + 5);
  expect(Math.max(...taken)).toBeLessThanOrEqual(32 * MIB);
});

test('parts of a large file that were staged are not sent again, though it was never had as a whole', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await using state = await testFolder();
  await writeTree(from.path, { big: { kind: 'file', content: pattern(128 * MIB) } });
  const blobs = createMemoryBlobs();
  const options = { indexDirectory: state.path };
  const first = testCheckpointer(blobs.connect(), from.path, {
    ...options,
    // Somebody writes into it all the time, each time at its end.
    workers: afterReading(async () => {
      await using file = await open(`${from.path}/big`, 'r+');
      await file.write(`${Math.random()}`, 128 * MIB - 20);
    }),
  });
  await first.stageIdle('job', { idleMs: 0, pace }, never());
  await first.close();
  const staged = packNames(blobs).length;
  expect(staged).toBeGreaterThan(10);
  // Another process of that boot.
  const store = blobs.connect();
  const second = testCheckpointer(store, from.path, options);
  await committed(second);
  await second.close();
  expect(packBytes(store)).toBeLessThan(25 * MIB);
  await restoreJob(store, to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});

test('a drain does not wait for a scheduled commit or one by command, and uses what that has sent', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { big: { kind: 'file', content: pattern(96 * MIB) } });
  const stuck = Promise.withResolvers<void>();
  const isHeld = Promise.withResolvers<void>();
  const store = createMemoryBlobs().connect({
    async before({ operation, name }) {
      if (
        operation !== 'create' ||
        !name.includes('/packs/') ||
        countCalls(store, 'create', '/packs/') !== 10
      )
        return;
      isHeld.resolve();
      await stuck.promise;
    },
  });
  const checkpointer = testCheckpointer(store, from.path);
  const byCommand = commitJob(checkpointer);
  await isHeld.promise;
  const drain = checkpointer.commit({ set: 'job', reason: 'notice' }, never());
  stuck.resolve();
  expect(await byCommand).toMatchObject({ kind: 'failed', code: 'gave-way', retryable: true });
  expect(await drain).toMatchObject({ kind: 'committed', id: '00000002' });
  expect(packBytes(store)).toBeLessThan(96 * MIB + 65 * MIB);
});

test('after prepare the window has nothing to ask but whose the set is, and the estimate is known before', async () => {
  await using from = await testFolder();
  await writeTree(from.path, {
    a: { kind: 'file', content: 'a' },
    b: { kind: 'file', content: pattern(9 * MIB) },
  });
  const blobs = createMemoryBlobs();
  await committed(testCheckpointer(blobs.connect(), from.path));
  const store = blobs.connect();
  const checkpointer = testCheckpointer(store, from.path);
  expect(checkpointer.estimate().bytesLeft).toBeUndefined();
  await checkpointer.prepare('job', never());
  expect(checkpointer.estimate().bytesLeft).toBe(9 * MIB + 1);
  expect(checkpointer.activity().get('job')).toMatchObject({ filesRead: 0 });
  const before = store.calls.length;
  await checkpointer.commit({ set: 'job', reason: 'notice' }, never());
  const asked = store.calls.slice(before).map(({ operation, name }) => `${operation} ${name.split('/')[4]}`);
  expect(asked).not.toContain('list packs');
  expect(asked.filter((one) => one.startsWith('read'))).toEqual([]);
});

test('a commit in a drain does not list packs, however long ago that was', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { a: { kind: 'file', content: 'a' } });
  const clock = shiftedClock();
  const store = createMemoryBlobs().connect();
  const checkpointer = testCheckpointer(store, from.path, { clock });
  await committed(checkpointer);
  const lists = countCalls(store, 'list', '/packs/');
  clock.advance(10 * 86_400_000);
  await changeFile(`${from.path}/a`, 'b');
  expect(await checkpointer.commit({ set: 'job', reason: 'notice' }, never())).toMatchObject({
    kind: 'committed',
  });
  expect(countCalls(store, 'list', '/packs/')).toBe(lists);
  await committed(checkpointer);
  expect(countCalls(store, 'list', '/packs/')).toBe(lists + 1);
});

test('a scheduled commit is never left out after one that a file kept changing under', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, { log: { kind: 'file', content: '0' } });
  const store = createMemoryBlobs().connect();
  let isWriting = true;
  const checkpointer = testCheckpointer(store, from.path, {
    workers: afterReading(async () => {
      if (isWriting) await appendFile(`${from.path}/log`, '+');
    }),
  });
  expect(await checkpointer.commitIfChanged('job', never())).toMatchObject({ id: '00000002' });
  isWriting = false;
  await checkpointer.stageIdle('job', IDLE, never());
  expect(await checkpointer.commitIfChanged('job', never())).toMatchObject({ id: '00000003' });
  await restoreJob(store, to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});
