import { appendFile, chmod, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';

import { expect, test } from 'vitest';

import { TRANSFER_LIMITS } from '../../src/checkpoint/transfer.ts';
import { committed, commitJob, never, reader, restoreJob, testCheckpointer } from '../support/checkpoints.ts';
import { changeFile, pattern, readTree, testFolder, writeTree } from '../support/file-tree.ts';
import { countCalls, createMemoryService } from '../support/memory-store.ts';

const MIB = 1024 ** 2;

test('an append sends the new blocks and the one that grew', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { log: { kind: 'file', content: pattern(10 * MIB) } });
  const service = createMemoryService();
  const checkpointer = testCheckpointer(service.connect(), from.path);
  await committed(checkpointer);
  await appendFile(`${from.path}/log`, pattern(4 * MIB, 7));
  expect(await committed(checkpointer)).toMatchObject({ bytesSent: 6 * MIB });
});

test('equal blocks of a file are sent once', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, { zeros: { kind: 'file', content: Buffer.alloc(40 * MIB + 1) } });
  const store = createMemoryService().connect();
  expect(await committed(testCheckpointer(store, from.path))).toMatchObject({ bytesSent: 4 * MIB + 1 });
  await restoreJob(store, to.path);
  expect((await stat(`${to.path}/zeros`)).size).toBe(40 * MIB + 1);
});

test('a commit that arrives while staging stops it at the next block and uses what it sent', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { big: { kind: 'file', content: pattern(64 * MIB) } });
  const started = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  const store = createMemoryService().connect({
    async before(call) {
      if (call.operation !== 'stageBlock') return;
      started.resolve();
      await go.promise;
    },
  });
  const checkpointer = testCheckpointer(store, from.path);
  const staging = checkpointer.stage('job', never());
  await started.promise;
  const commit = committed(checkpointer);
  go.resolve();
  await staging;
  const stagedEarly = countCalls(store, 'stageBlock');
  expect(stagedEarly).toBeLessThan(16);
  await commit;
  expect(countCalls(store, 'stageBlock')).toBe(16);
});

test('blocks that the service has dropped are sent once more', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, {
    big: { kind: 'file', content: pattern(9 * MIB) },
    s: { kind: 'file', content: 's' },
  });
  const service = createMemoryService();
  const store = service.connect();
  const checkpointer = testCheckpointer(store, from.path);
  await checkpointer.stage('job', never());
  service.expireStagedBlocks();
  await committed(checkpointer);
  await restoreJob(store, to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});

test('a file that is replaced while it is read is read again, never torn', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  const file = `${from.path}/state`;
  await writeTree(from.path, { state: { kind: 'file', content: pattern(12 * MIB, 1) } });
  let changed = false;
  const store = createMemoryService().connect({
    async before(call) {
      if (call.operation !== 'stageBlock' || changed) return;
      changed = true;
      await changeFile(file, pattern(12 * MIB, 2));
    },
  });
  await committed(testCheckpointer(store, from.path));
  await restoreJob(store, to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});

test('a file that changes after it was sent, but before the commit, is sent again', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, { a: { kind: 'file', content: 'old' }, z: { kind: 'file', content: 'z' } });
  let changed = false;
  const store = createMemoryService().connect({
    async after(call) {
      if (call.operation !== 'put' || !call.name.endsWith('/files/z') || changed) return;
      changed = true;
      await changeFile(`${from.path}/a`, 'new');
      await writeFile(`${from.path}/later`, 'also new');
      await rm(`${from.path}/z`);
    },
  });
  expect(await committed(testCheckpointer(store, from.path))).toMatchObject({ files: 2 });
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
  const service = createMemoryService();
  let writes = 0;
  const store = service.connect({
    async before(call) {
      if (!call.name.endsWith('/files/busy.log')) return;
      await changeFile(`${from.path}/busy.log`, `x${++writes}`);
      await writeFile(`${from.path}/new-${writes}`, `${writes}`);
    },
  });
  const notes: string[] = [];
  const onNote = (_: string, error: Error) => notes.push(error.message);
  expect(await committed(testCheckpointer(store, from.path, { onNote }))).toMatchObject({
    kind: 'committed',
  });
  expect(notes).toEqual([expect.stringContaining('"busy.log"')]);
  await restoreJob(service.connect(), to.path);
  expect(await readFile(`${to.path}/busy.log`, 'utf8')).toMatch(/^x\d$/);
  expect(await readFile(`${to.path}/new-1`, 'utf8')).toBe('1');
});

/** One block at a time, so that a file is still being read while its first blocks are sent. */
const NARROW = { ...TRANSFER_LIMITS, requestsMax: 1, bytesMax: 4 * MIB };

test('a log that grows all the time is saved up to a length that it had', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  const content = pattern(13 * MIB);
  await writeTree(from.path, { log: { kind: 'file', content } });
  const store = createMemoryService().connect({
    async before(call) {
      if (call.operation === 'stageBlock') await appendFile(`${from.path}/log`, 'one more line\n');
    },
  });
  await committed(testCheckpointer(store, from.path, { limits: NARROW }));
  await restoreJob(store, to.path);
  const restored = await readFile(`${to.path}/log`);
  const whole = await readFile(`${from.path}/log`);
  expect(restored.length).toBeGreaterThanOrEqual(content.length);
  expect(restored.equals(whole.subarray(0, restored.length))).toBe(true);
});

test('what of a growing file is saved has the time of then, not that of what came after it', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  const log = `${from.path}/log`;
  const times = new Map<number, number>();
  const grow = async () => {
    await appendFile(log, pattern(4 * MIB, times.size));
    await utimes(log, 1_500_000_000, 1_500_000_000 + times.size);
    times.set((await stat(log)).size, 1_500_000_000 + times.size);
  };
  for (let pieces = 0; pieces < 3; pieces++) await grow();
  const store = createMemoryService().connect({
    async before(call) {
      if (call.operation === 'stageBlock') await grow();
    },
  });
  await committed(testCheckpointer(store, from.path, { limits: NARROW }));
  await restoreJob(store, to.path);
  const { size, mtimeMs } = await stat(`${to.path}/log`);
  expect(mtimeMs / 1000).toBeCloseTo(times.get(size) ?? Number.NaN, 0);
});

test('modes, times, renames and deletions need no content to be sent', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, { a: { kind: 'file', content: 'a' }, b: { kind: 'file', content: 'b' } });
  const store = createMemoryService().connect();
  const checkpointer = testCheckpointer(store, from.path);
  await committed(checkpointer);
  await chmod(`${from.path}/a`, 0o600);
  await utimes(`${from.path}/a`, 1_500_000_000, 1_500_000_000);
  await rm(`${from.path}/b`);
  expect(await committed(checkpointer)).toMatchObject({ files: 1, bytesSent: 0 });
  await restoreJob(store, to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
  await rename(`${from.path}/a`, `${from.path}/c`);
  await committed(checkpointer);
  await using again = await testFolder();
  await restoreJob(store, again.path);
  expect(Object.keys(await readTree(again.path))).toEqual(['c']);
});

test('a folder that is not there fails as set-path-missing, and no checkpoint is made', async () => {
  const service = createMemoryService();
  const result = await commitJob(testCheckpointer(service.connect(), '/nowhere/at/all'));
  expect(result).toMatchObject({ kind: 'failed', code: 'set-path-missing', retryable: true });
  expect(service.names().filter((name) => name.includes('/checkpoints/'))).toEqual([]);
});

test('files that nobody has touched are looked at once', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { a: { kind: 'file', content: 'a' }, 'b/c': { kind: 'file', content: 'c' } });
  const checkpointer = testCheckpointer(createMemoryService().connect(), from.path);
  await committed(checkpointer);
  expect(checkpointer.activity().get('job')).toMatchObject({ scans: 2, filesRead: 2 });
  expect(await committed(checkpointer)).toMatchObject({ files: 2, bytesSent: 0 });
  expect(checkpointer.activity().get('job')).toMatchObject({ scans: 3, filesRead: 2 });
});

test.each(['nothing', 'something'])(
  'a file that is moved while the folders are looked at is not overlooked, with %s to send',
  async (what) => {
    await using from = await testFolder();
    await using to = await testFolder();
    await writeTree(from.path, {
      'a/f': { kind: 'file', content: 'f' },
      'b/x': { kind: 'file', content: 'x' },
    });
    const store = createMemoryService().connect();
    const lastLook = what === 'nothing' ? 1 : 2;
    let looks = -Infinity;
    const checkpointer = testCheckpointer(store, from.path, {
      reader: {
        ...reader,
        async run(job) {
          // The names in both folders are known by now; under the new one it won't be looked for.
          if (job.kind === 'look' && job.paths.includes('b/x') && ++looks === lastLook) {
            await rename(`${from.path}/b/x`, `${from.path}/a/x`);
          }
          return reader.run(job);
        },
      },
    });
    await committed(checkpointer);
    if (what === 'something') await changeFile(`${from.path}/a/f`, 'new');
    looks = 0;
    expect(await committed(checkpointer)).toMatchObject({ files: 2 });
    await restoreJob(store, to.path);
    expect(Object.keys(await readTree(to.path))).toEqual(['a', 'a/f', 'a/x', 'b']);
  },
);

test('folders whose names change during each look are named', async () => {
  await using from = await testFolder();
  await writeTree(from.path, {
    'a/f': { kind: 'file', content: 'f' },
    'b/x': { kind: 'file', content: 'x' },
  });
  let moves = 0;
  const notes: string[] = [];
  const checkpointer = testCheckpointer(createMemoryService().connect(), from.path, {
    onNote: (_, error) => notes.push(error.message),
    reader: {
      ...reader,
      async run(job) {
        const [here, there] = moves % 2 === 0 ? ['b', 'a'] : ['a', 'b'];
        if (job.kind === 'look' && job.paths.includes('a/f')) {
          await rename(`${from.path}/${here}/x`, `${from.path}/${there}/x`);
          moves++;
        }
        return reader.run(job);
      },
    },
  });
  await committed(checkpointer);
  expect(notes).toEqual([expect.stringContaining(`"a", "b" in ${from.path} went on changing`)]);
});

test('staging leaves a file that changes meanwhile to the commit', async () => {
  await using from = await testFolder();
  await writeTree(from.path, {
    a: { kind: 'file', content: pattern(9 * MIB, 1) },
    b: { kind: 'file', content: 'b' },
  });
  let writes = 1;
  let quiet = false;
  const store = createMemoryService().connect({
    async before(call) {
      if (!quiet && call.name.endsWith('/files/a'))
        await changeFile(`${from.path}/a`, pattern(9 * MIB, ++writes));
    },
  });
  const checkpointer = testCheckpointer(store, from.path);
  await checkpointer.stage('job', never());
  expect(checkpointer.activity().get('job')).toMatchObject({ filesRead: 2 });
  quiet = true;
  expect(await committed(checkpointer)).toMatchObject({ files: 2, bytes: 9 * MIB + 1 });
});
