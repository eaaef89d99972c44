import { appendFile } from 'node:fs/promises';

import { expect, test } from 'vitest';

import type { Clock } from '../../src/base/clock.ts';
import { createPace } from '../../src/checkpoint/pace.ts';
import {
  commitJob,
  committed,
  laterClock,
  never,
  reader,
  restoreJob,
  testCheckpointer,
} from '../support/checkpoints.ts';
import { changeFile, pattern, readTree, testFolder, writeTree } from '../support/file-tree.ts';
import { countCalls, createMemoryService } from '../support/memory-store.ts';
import { manualClock } from '../imds/support.ts';

const MIB = 1024 ** 2;
const pace = createPace({ bytesPerSecond: Infinity }, { clock: laterClock });
const IDLE = { idleMs: 5000, pace };

/** Both clocks can be put on. */
function movableClock() {
  let aheadMs = 0;
  const clock: Clock = {
    ...laterClock,
    monotonicMs: () => laterClock.monotonicMs() + aheadMs,
    wallMs: () => laterClock.wallMs() + aheadMs,
  };
  return { clock, putOn: (ms: number) => void (aheadMs += ms) };
}

test('what is quiet is staged, and a commit then sends nothing of it; what was just written is left alone', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, {
    a: { kind: 'file', content: pattern(9 * MIB) },
    b: { kind: 'file', content: 'b' },
  });
  const service = createMemoryService();
  const store = service.connect();
  // The files are an hour old for this clock, and were just written for the other.
  const busy = testCheckpointer(store, from.path, {
    clock: { ...laterClock, wallMs: () => laterClock.wallMs() - 3_600_000 },
  });
  expect(await busy.stageIdle('job', IDLE, never())).toBeUndefined();
  expect(countCalls(store, 'stageBlock')).toBe(0);
  const checkpointer = testCheckpointer(store, from.path);
  await checkpointer.stageIdle('job', IDLE, never());
  expect(countCalls(store, 'stageBlock')).toBe(4);
  expect(service.names()).toEqual(['p/vm-1/job/hash-key.json']);
  expect(checkpointer.estimate()).toMatchObject({ bytesLeft: 0 });
  await checkpointer.stageIdle('job', IDLE, never());
  expect(checkpointer.activity().get('job')).toMatchObject({ filesRead: 2 });
  await committed(checkpointer);
  expect(countCalls(store, 'stageBlock')).toBe(4);
  await restoreJob(store, to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});

test('it gives way to a checkpoint at the next block, and what it sent is used', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { big: { kind: 'file', content: pattern(64 * MIB) } });
  const started = Promise.withResolvers<void>();
  const store = createMemoryService().connect({
    before({ operation }) {
      if (operation === 'stageBlock') started.resolve();
    },
  });
  const checkpointer = testCheckpointer(store, from.path, { clock: laterClock });
  // So slow that it would take an hour.
  const slow = createPace({ bytesPerSecond: 20_000 }, { clock: laterClock });
  const staging = checkpointer.stageIdle('job', { idleMs: 0, pace: slow }, never());
  await started.promise;
  expect(await committed(checkpointer)).toMatchObject({ bytesSent: 64 * MIB });
  await staging;
  expect(countCalls(store, 'stageBlock')).toBe(16);
});

test('what is only compared goes at four times the pace', async () => {
  await using from = await testFolder();
  const taken: number[] = [];
  const counting = { take: async (bytes: number) => void taken.push(bytes) };
  const checkpointer = testCheckpointer(createMemoryService().connect(), from.path);
  const stage = () => checkpointer.stageIdle('job', { idleMs: 0, pace: counting }, never());
  await writeTree(from.path, { big: { kind: 'file', content: pattern(12 * MIB) } });
  await stage();
  expect(taken).toEqual([4, 4, 4].map((mib) => mib * MIB));
  taken.length = 0;
  const changed = Buffer.concat([pattern(12 * MIB).subarray(0, -1), Buffer.from('x')]);
  await changeFile(`${from.path}/big`, changed);
  await stage();
  expect(taken).toEqual([3, 4].map((mib) => mib * MIB));
});

test('a drain does not wait for a scheduled commit or one by command, and uses what that has sent', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { big: { kind: 'file', content: pattern(64 * MIB) } });
  const stuck = Promise.withResolvers<void>();
  let isHeld = true;
  const store = createMemoryService().connect({
    async before({ operation }, number) {
      if (operation !== 'stageBlock' || number < 12 || !isHeld) return;
      isHeld = false;
      await stuck.promise;
    },
  });
  const checkpointer = testCheckpointer(store, from.path);
  const byCommand = commitJob(checkpointer);
  await expect.poll(() => isHeld).toBe(false);
  const drain = checkpointer.commit({ set: 'job', reason: 'notice' }, never());
  stuck.resolve();
  expect(await byCommand).toMatchObject({ kind: 'failed', code: 'gave-way', retryable: true });
  expect(await drain).toMatchObject({ kind: 'committed', id: '00000001' });
});

test('after prepare the window has nothing to ask: no listing, and the estimate is known before', async () => {
  await using from = await testFolder();
  await writeTree(from.path, {
    a: { kind: 'file', content: 'a' },
    b: { kind: 'file', content: pattern(9 * MIB) },
  });
  const service = createMemoryService();
  await committed(testCheckpointer(service.connect(), from.path));
  const store = service.connect();
  const checkpointer = testCheckpointer(store, from.path);
  expect(checkpointer.estimate().bytesLeft).toBeUndefined();
  await checkpointer.prepare('job', never());
  expect(checkpointer.estimate().bytesLeft).toBe(9 * MIB + 1);
  expect(checkpointer.activity().get('job')).toMatchObject({ filesRead: 0 });
  const before = store.calls.length;
  await checkpointer.commit({ set: 'job', reason: 'notice' }, never());
  expect(store.calls.slice(before).map(({ operation }) => operation)).not.toContain('list');
});

test('blocks that wait for a checkpoint are kept past the week after which the service drops them', async () => {
  await using from = await testFolder();
  await writeTree(from.path, {
    big: { kind: 'file', content: pattern(9 * MIB) },
    s: { kind: 'file', content: 's' },
  });
  const { clock, putOn } = movableClock();
  const store = createMemoryService().connect();
  const checkpointer = testCheckpointer(store, from.path, { clock });
  await checkpointer.stageIdle('job', IDLE, never());
  expect(countCalls(store, 'stageBlock')).toBe(4);
  putOn(4 * 86_400_000);
  await checkpointer.stageIdle('job', IDLE, never());
  expect(countCalls(store, 'stageBlock')).toBe(4);
  putOn(2 * 86_400_000);
  await checkpointer.stageIdle('job', IDLE, never());
  // One block of each blob keeps all of them.
  expect(countCalls(store, 'stageBlock')).toBe(6);
  await checkpointer.stageIdle('job', IDLE, never());
  expect(countCalls(store, 'stageBlock')).toBe(6);
  await committed(checkpointer);
  putOn(30 * 86_400_000);
  await checkpointer.stageIdle('job', IDLE, never());
  expect(countCalls(store, 'stageBlock')).toBe(6);
});

test('a blob with as many staged blocks as may be is left to the commit, and the other files are staged', async () => {
  await using from = await testFolder();
  await writeTree(from.path, {
    big: { kind: 'file', content: pattern(9 * MIB) },
    s: { kind: 'file', content: 's' },
  });
  const service = createMemoryService();
  const uncommitted = Array.from({ length: 50_000 }, (_, index) => ({ id: `${index}`, bytes: 1 }));
  const store = service.connect();
  const blocks: typeof store.blocks = async () => ({ etag: undefined, committed: [], uncommitted });
  const checkpointer = testCheckpointer({ ...store, blocks }, from.path);
  // What is there is asked for with the first block of a file.
  await checkpointer.stageIdle('job', IDLE, never());
  await changeFile(`${from.path}/big`, pattern(9 * MIB, 2));
  await changeFile(`${from.path}/s`, 't');
  const sent = countCalls(store, 'stageBlock');
  const problem = await checkpointer.stageIdle('job', IDLE, never());
  expect(problem).toMatchObject({ code: 'staging-full', message: expect.stringContaining('"big"') });
  expect(countCalls(store, 'stageBlock') - sent).toBe(1);
});

test('a scheduled commit is left out when nothing has changed since the last one', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { a: { kind: 'file', content: 'a' }, 'd/b': { kind: 'file', content: 'b' } });
  const store = createMemoryService().connect();
  const checkpointer = testCheckpointer(store, from.path);
  expect(await checkpointer.commitIfChanged('job', never())).toMatchObject({ id: '00000001' });
  const before = store.calls.length;
  expect(await checkpointer.commitIfChanged('job', never())).toBeUndefined();
  expect(store.calls.length).toBe(before);
  await changeFile(`${from.path}/d/b`, 'c');
  expect(await checkpointer.commitIfChanged('job', never())).toMatchObject({ id: '00000002', bytesSent: 1 });
});

test('a scheduled commit is never left out after one that a file kept changing under', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, { log: { kind: 'file', content: '0' } });
  const store = createMemoryService().connect();
  let isWriting = true;
  const checkpointer = testCheckpointer(store, from.path, {
    reader: {
      ...reader,
      async run(job, signal) {
        const result = await reader.run(job, signal);
        if (isWriting && job.kind === 'file') await appendFile(`${from.path}/log`, '+');
        return result;
      },
    },
  });
  expect(await checkpointer.commitIfChanged('job', never())).toMatchObject({ id: '00000001' });
  isWriting = false;
  await checkpointer.stageIdle('job', IDLE, never());
  expect(await checkpointer.commitIfChanged('job', never())).toMatchObject({ id: '00000002' });
  await restoreJob(store, to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});

test('the pace holds over any span of time, but for one block', async () => {
  const clock = manualClock();
  const slow = createPace({ bytesPerSecond: 100 }, { clock });
  const times: number[] = [];
  const all = [50, 50, 100].map(async (bytes) => {
    await slow.take(bytes, never());
    times.push(clock.monotonicMs());
  });
  await clock.advance(0);
  await clock.advance(10_000);
  await Promise.all(all);
  await slow.take(1, never());
  times.push(clock.monotonicMs());
  expect(times).toEqual([0, 500, 1000, 10_000]);
});
