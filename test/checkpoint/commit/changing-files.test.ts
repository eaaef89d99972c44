import { appendFile, chmod, readFile, rename, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises';

import { expect, test } from 'vitest';

import type { Workers } from '../../../src/checkpoint/worker/workers.ts';
import {
  committed,
  commitJob,
  never,
  restoreJob,
  shiftedClock,
  testCheckpointer,
} from '../../support/checkpoints.ts';
import { changeFile, pattern, readTree, testFolder, writeTree } from '../../support/file-tree.ts';
import { createMemoryBlobs } from '../../support/memory-blobs.ts';
import { MIB, afterReading, busyFile, packBytes, packNames } from './rig.ts';

test('an append sends the new chunks and the one that grew', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { log: { kind: 'file', content: pattern(10.5 * MIB) } });
  const checkpointer = testCheckpointer(createMemoryBlobs().connect(), from.path);
  await committed(checkpointer);
  await appendFile(`${from.path}/log`, pattern(4 * MIB, 7));
  const { bytesSent } = await committed(checkpointer);
  expect(bytesSent).toBeGreaterThan(4.5 * MIB);
  expect(bytesSent).toBeLessThan(4.6 * MIB);
});

test('zeros are not sent', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, { zeros: { kind: 'file', content: Buffer.alloc(40 * MIB + 1) } });
  const store = createMemoryBlobs().connect();
  expect((await committed(testCheckpointer(store, from.path))).bytesSent).toBeLessThan(MIB);
  await restoreJob(store, to.path);
  expect((await stat(`${to.path}/zeros`)).size).toBe(40 * MIB + 1);
});

test('a file that changes after it was sent, but before the commit, is sent again', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, { a: { kind: 'file', content: 'old' }, z: { kind: 'file', content: 'z' } });
  let isChanged = false;
  const store = createMemoryBlobs().connect();
  const workers = afterReading(async () => {
    if (isChanged) return;
    isChanged = true;
    await changeFile(`${from.path}/a`, 'new');
    await writeFile(`${from.path}/later`, 'also new');
    await rm(`${from.path}/z`);
  });
  expect(await committed(testCheckpointer(store, from.path, { workers }))).toMatchObject({ files: 2 });
  await restoreJob(store, to.path);
  expect(Object.keys(await readTree(to.path))).toEqual(['a', 'later']);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});

test('files that never stop changing are saved as each was at one moment, and that is said', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, {
    'busy.log': { kind: 'file', content: 'x0' },
    still: { kind: 'file', content: 's' },
  });
  const store = createMemoryBlobs().connect();
  let writes = 0;
  const notes: string[] = [];
  const checkpointer = testCheckpointer(store, from.path, {
    onNote: (_, error) => notes.push(error.message),
    workers: afterReading(async (paths) => {
      if (paths.includes('busy.log')) await changeFile(`${from.path}/busy.log`, `x${++writes}`);
    }),
  });
  expect(await committed(checkpointer)).toMatchObject({ kind: 'committed' });
  expect(notes).toEqual([expect.stringContaining('"busy.log"')]);
  await restoreJob(store, to.path);
  expect(await readFile(`${to.path}/busy.log`, 'utf8')).toMatch(/^x\d$/);
});

test('a file that is rewritten in place during each reading of it is lost, by name, and all else is saved', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, {
    busy: { kind: 'file', content: pattern(40 * MIB, 0) },
    still: { kind: 'file', content: 's' },
  });
  const store = createMemoryBlobs().connect();
  const { workers } = busyFile(`${from.path}/busy`);
  const result = await commitJob(testCheckpointer(store, from.path, { workers }));
  expect(result).toMatchObject({ kind: 'failed', code: 'file-changing', retryable: true, id: '00000002' });
  expect(result.kind === 'failed' && result.detail).toContain('"busy"');
  await restoreJob(store, to.path);
  // Of its parts no two were of one moment.
  expect(Object.keys(await readTree(to.path))).toEqual(['still']);
});

test('a log that grows all the time is saved up to a length that it had', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  const content = pattern(40 * MIB);
  await writeTree(from.path, { log: { kind: 'file', content } });
  const store = createMemoryBlobs().connect();
  const workers = afterReading(() => appendFile(`${from.path}/log`, 'one more line\n'));
  await committed(testCheckpointer(store, from.path, { workers }));
  await restoreJob(store, to.path);
  const restored = await readFile(`${to.path}/log`);
  const whole = await readFile(`${from.path}/log`);
  expect(restored.length).toBeGreaterThanOrEqual(content.length);
  expect(restored.equals(whole.subarray(0, restored.length))).toBe(true);
});

test('of a file that only grows just the end is read, and its last old chunk compared', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  const old = pattern(9.5 * MIB);
  await writeTree(from.path, { log: { kind: 'file', content: old } });
  const store = createMemoryBlobs().connect();
  const checkpointer = testCheckpointer(store, from.path, { set: { appendOnly: ['log'] } });
  await committed(checkpointer);
  const before = checkpointer.activity().get('job')?.bytesRead ?? 0;
  await appendFile(`${from.path}/log`, 'more');
  await committed(checkpointer);
  const { bytesRead = 0 } = checkpointer.activity().get('job') ?? {};
  expect(bytesRead - before).toBeLessThan(2 * MIB);
  await restoreJob(store, to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});

test('of a log that grew by much just that is sent', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, { log: { kind: 'file', content: pattern(10.5 * MIB) } });
  const store = createMemoryBlobs().connect();
  const checkpointer = testCheckpointer(store, from.path, { set: { appendOnly: ['log'] } });
  await committed(checkpointer);
  const before = packBytes(store);
  await appendFile(`${from.path}/log`, pattern(72 * MIB, 3));
  await committed(checkpointer);
  expect(packBytes(store) - before).toBeLessThan(73 * MIB);
  await restoreJob(store, to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});

test('a log that was cut and has grown beyond where it was is read as a whole', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, { log: { kind: 'file', content: pattern(9.5 * MIB, 1) } });
  const store = createMemoryBlobs().connect();
  const checkpointer = testCheckpointer(store, from.path, { set: { appendOnly: ['log'] } });
  await committed(checkpointer);
  // As `copytruncate` of logrotate does.
  await truncate(`${from.path}/log`, 0);
  await appendFile(`${from.path}/log`, pattern(12 * MIB, 2));
  await committed(checkpointer);
  await restoreJob(store, to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});

test('what is missing in the store of a log that grows all the time is sent again', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, { log: { kind: 'file', content: pattern(20.5 * MIB) } });
  const blobs = createMemoryBlobs();
  const clock = shiftedClock();
  const checkpointer = testCheckpointer(blobs.connect(), from.path, {
    set: { appendOnly: ['log'] },
    clock,
  });
  await committed(checkpointer);
  const [first = ''] = packNames(blobs);
  blobs.remove(first);
  // Packs are listed anew.
  clock.advance(3_600_000);
  await appendFile(`${from.path}/log`, 'more');
  expect((await committed(checkpointer)).bytesSent).toBeLessThan(9 * MIB);
  await restoreJob(blobs.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});

test('modes, times, renames and deletions need no content to be sent', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, {
    a: { kind: 'file', content: pattern(MIB) },
    b: { kind: 'file', content: 'b' },
  });
  const store = createMemoryBlobs().connect();
  const checkpointer = testCheckpointer(store, from.path);
  await committed(checkpointer);
  await chmod(`${from.path}/a`, 0o600);
  await utimes(`${from.path}/a`, 1_500_000_000, 1_500_000_000);
  await rm(`${from.path}/b`);
  const { files, bytesSent } = await committed(checkpointer);
  expect(files).toBe(1);
  expect(bytesSent).toBeLessThan(4096);
  await restoreJob(store, to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
  await rename(`${from.path}/a`, `${from.path}/c`);
  await committed(checkpointer);
  await using again = await testFolder();
  await restoreJob(store, again.path);
  expect(Object.keys(await readTree(again.path))).toEqual(['c']);
});

test('a folder that is not there fails as set-path-missing, and no checkpoint is made', async () => {
  const blobs = createMemoryBlobs();
  const result = await commitJob(testCheckpointer(blobs.connect(), '/nowhere/at/all'));
  expect(result).toMatchObject({ kind: 'failed', code: 'set-path-missing', retryable: true });
  expect(blobs.names()).toEqual([]);
});

/** Moves a file between two folders during a look, once the names in both are known. */
function movingDuringLooks(isDue: () => boolean, move: () => Promise<void>) {
  return (workers: Workers): Workers => ({
    ...workers,
    async look(job, signal) {
      if (job.paths.includes('b/x') && isDue()) await move();
      return workers.look(job, signal);
    },
  });
}

test.each(['nothing', 'something'])(
  'a file that is moved while the folders are looked at is not overlooked, with %s to send',
  async (what) => {
    await using from = await testFolder();
    await using to = await testFolder();
    await writeTree(from.path, {
      'a/f': { kind: 'file', content: 'f' },
      'b/x': { kind: 'file', content: 'x' },
    });
    const store = createMemoryBlobs().connect();
    const lastLook = what === 'nothing' ? 1 : 2;
    let looks = -Infinity;
    const checkpointer = testCheckpointer(store, from.path, {
      workers: movingDuringLooks(
        () => ++looks === lastLook,
        () => rename(`${from.path}/b/x`, `${from.path}/a/x`),
      ),
    });
    await committed(checkpointer);
    if (what === 'something') await changeFile(`${from.path}/a/f`, 'new');
    looks = 0;
    expect(await committed(checkpointer)).toMatchObject({ files: 2 });
    await restoreJob(store, to.path);
    expect(Object.keys(await readTree(to.path))).toEqual(['a', 'a/f', 'a/x', 'b']);
  },
);

test('a commit that arrives while staging stops it at the next part and uses what it sent', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { big: { kind: 'file', content: pattern(160 * MIB) } });
  const started = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  const store = createMemoryBlobs().connect({
    async before({ operation, name }) {
      if (operation !== 'create' || !name.includes('/packs/')) return;
      started.resolve();
      await go.promise;
    },
  });
  const packs = () =>
    store.calls.filter(({ operation, name }) => operation === 'create' && name.includes('/packs/'));
  const checkpointer = testCheckpointer(store, from.path);
  const staging = checkpointer.stage('job', never());
  await started.promise;
  const commit = committed(checkpointer);
  go.resolve();
  await staging;
  expect(packs().length).toBeLessThan(20);
  await commit;
  const bytes = packs().reduce((sum, call) => sum + call.bytes, 0);
  expect(bytes).toBeLessThan(165 * MIB);
});

test('staging leaves a file that changes meanwhile to the commit', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, { a: { kind: 'file', content: pattern(40 * MIB, 1) } });
  let writes = 1;
  let isQuiet = false;
  const store = createMemoryBlobs().connect();
  const checkpointer = testCheckpointer(store, from.path, {
    workers: afterReading(async () => {
      if (!isQuiet) await changeFile(`${from.path}/a`, pattern(40 * MIB, ++writes));
    }),
  });
  await checkpointer.stage('job', never());
  isQuiet = true;
  await committed(checkpointer);
  await restoreJob(store, to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});
