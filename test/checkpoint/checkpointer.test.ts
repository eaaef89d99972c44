import { appendFile, chmod, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';

import { expect, test } from 'vitest';

import { EvictdError } from '../../src/base/errors.ts';
import { committed, commitJob, never, PLACE, restoreJob, testCheckpointer } from '../support/checkpoints.ts';
import { changeFile, readTree, testFolder, writeTree } from '../support/file-tree.ts';
import { createMemoryService, storeError } from '../support/memory-store.ts';
import type { MemoryClient } from '../support/memory-store.ts';

const MIB = 1024 ** 2;

function count(store: MemoryClient, operation: string, below = ''): number {
  return store.calls.filter((call) => call.operation === operation && call.name.includes(below)).length;
}

/** Content that differs in every block. */
function pattern(bytes: number, seed = 1): Buffer {
  const buffer = Buffer.alloc(bytes, seed);
  for (let at = 0; at < bytes; at += 4096) buffer.writeUInt32LE(at ^ seed, at);
  return buffer;
}

test('a first checkpoint has all files, and restores them byte for byte', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, {
    'model.bin': { kind: 'file', content: pattern(9 * MIB), mode: 0o640, mtimeS: 1_700_000_000.25 },
    'logs/train.log': { kind: 'file', content: 'step 1\n' },
    '.hidden': { kind: 'file', content: 'h' },
    empty: { kind: 'file', content: '' },
    'folder/empty': { kind: 'folder', mode: 0o711, mtimeS: 1_600_000_000 },
    latest: { kind: 'link', target: 'model.bin' },
  });
  const service = createMemoryService();
  const checkpointer = testCheckpointer(service.connect(), from.path);
  const result = await committed(checkpointer);
  expect(result).toMatchObject({ id: '00000001', files: 4, bytes: 9 * MIB + 8, bytesSent: 9 * MIB + 8 });
  const restored = await restoreJob(service.connect(), to.path);
  expect(restored).toMatchObject({ id: '00000001', files: 4, bytesFetched: 9 * MIB + 8, filesKept: 0 });
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});

test('a second checkpoint sends the changed block only, and reads the changed file only', async () => {
  await using from = await testFolder();
  const content = pattern(20 * MIB);
  await writeTree(from.path, {
    big: { kind: 'file', content },
    ...Object.fromEntries(
      Array.from({ length: 50 }, (_, i) => [`small/${i}`, { kind: 'file', content: `${i}` }]),
    ),
  });
  const service = createMemoryService();
  const store = service.connect();
  const checkpointer = testCheckpointer(store, from.path);
  await committed(checkpointer);
  const before = store.calls.length;
  const readBefore = checkpointer.activity().get('job')?.filesRead ?? 0;
  content.write('changed', 9 * MIB);
  await changeFile(`${from.path}/big`, content);
  expect(await committed(checkpointer)).toMatchObject({ id: '00000002', files: 51, bytesSent: 4 * MIB });
  const calls = store.calls.slice(before).map(({ operation, name, bytes }) => [operation, name, bytes]);
  expect(calls.map(([operation]) => operation).toSorted()).toEqual([
    'commitBlocks',
    'put',
    'put',
    'snapshot',
    'stageBlock',
  ]);
  expect(calls.find(([operation]) => operation === 'stageBlock')).toEqual([
    'stageBlock',
    'p/vm-1/job/files/big',
    4 * MIB,
  ]);
  expect((checkpointer.activity().get('job')?.filesRead ?? 0) - readBefore).toBe(1);
});

test('an append sends the new blocks and the one that grew', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { log: { kind: 'file', content: pattern(10 * MIB) } });
  const service = createMemoryService();
  const checkpointer = testCheckpointer(service.connect(), from.path);
  await committed(checkpointer);
  await appendFile(`${from.path}/log`, pattern(4 * MIB, 7));
  expect(await committed(checkpointer)).toMatchObject({ bytesSent: 6 * MIB });
});

test('a process with the index of the one before reads nothing; without it reads all and sends nothing', async () => {
  await using from = await testFolder();
  await using index = await testFolder();
  await writeTree(from.path, {
    a: { kind: 'file', content: 'a' },
    b: { kind: 'file', content: pattern(5 * MIB) },
  });
  const service = createMemoryService();
  const options = { indexDirectory: index.path };
  const first = testCheckpointer(service.connect(), from.path, options);
  await committed(first);
  await first.close();
  const second = testCheckpointer(service.connect(), from.path, options);
  expect(await committed(second)).toMatchObject({ id: '00000002', files: 2, bytesSent: 0 });
  expect(second.activity().get('job')).toMatchObject({ filesRead: 0, bytesRead: 0 });
  const third = testCheckpointer(service.connect(), from.path);
  expect(await committed(third)).toMatchObject({ id: '00000003', files: 2, bytesSent: 0 });
  expect(third.activity().get('job')).toMatchObject({ filesRead: 2, bytesRead: 5 * MIB + 1 });
});

test('an index that is broken is reported and replaced', async () => {
  await using from = await testFolder();
  await using index = await testFolder();
  await writeTree(from.path, { a: { kind: 'file', content: 'a' } });
  await writeFile(`${index.path}/job.index.jsonl`, '{"version":1,');
  const notes: string[] = [];
  const service = createMemoryService();
  const checkpointer = testCheckpointer(service.connect(), from.path, {
    indexDirectory: index.path,
    onNote: (_set, error) => notes.push(error instanceof EvictdError ? error.code : error.message),
  });
  await committed(checkpointer);
  await checkpointer.close();
  expect(notes).toEqual(['index-unusable']);
  const next = testCheckpointer(service.connect(), from.path, { indexDirectory: index.path });
  await committed(next);
  expect(next.activity().get('job')?.filesRead).toBe(0);
});

test('staging sends the blocks, and the commit after it sends no content', async () => {
  await using from = await testFolder();
  await writeTree(from.path, {
    a: { kind: 'file', content: 'small' },
    b: { kind: 'file', content: pattern(9 * MIB) },
  });
  const store = createMemoryService().connect();
  const checkpointer = testCheckpointer(store, from.path);
  await checkpointer.stage('job', never());
  expect(checkpointer.estimate().bytesLeft).toBe(0);
  expect(checkpointer.progress()).toMatchObject([{ name: 'job', files: 2, bytesStored: 9 * MIB + 5 }]);
  expect(count(store, 'stageBlock')).toBe(4);
  expect(await committed(checkpointer)).toMatchObject({ bytesSent: 9 * MIB + 5 });
  expect(count(store, 'stageBlock')).toBe(4);
  expect(count(store, 'put', '/files/')).toBe(0);
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

test('blocks that an earlier process staged are not sent again', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { big: { kind: 'file', content: pattern(9 * MIB) } });
  const service = createMemoryService();
  await testCheckpointer(service.connect(), from.path).stage('job', never());
  const store = service.connect();
  expect(await committed(testCheckpointer(store, from.path))).toMatchObject({ bytesSent: 0, bytes: 9 * MIB });
  expect(count(store, 'stageBlock')).toBe(0);
});

test('an aborted commit fails as retryable, at once, and the next one goes on where it stopped', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { big: { kind: 'file', content: pattern(16 * MIB) } });
  const service = createMemoryService();
  const abort = new AbortController();
  const store = service.connect({
    async after(call) {
      if (call.operation !== 'stageBlock' || abort.signal.aborted) return;
      if (store.calls.filter(({ operation }) => operation === 'stageBlock').length < 2) return;
      abort.abort(new EvictdError('timeout', 'the window is over'));
    },
  });
  const checkpointer = testCheckpointer(store, from.path);
  expect(await commitJob(checkpointer, abort.signal)).toEqual({
    kind: 'failed',
    code: 'timeout',
    detail: 'the window is over',
    retryable: true,
  });
  const sent = count(store, 'stageBlock');
  const result = await committed(checkpointer);
  expect(result.bytes).toBe(16 * MIB);
  // Blocks whose answer was lost at the abort are asked for or sent again, the others aren't.
  expect(count(store, 'stageBlock')).toBeLessThanOrEqual(sent + 4);
  expect(result.bytesSent).toBeLessThanOrEqual(16 * MIB);
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
  const stagedEarly = count(store, 'stageBlock');
  expect(stagedEarly).toBeLessThan(16);
  await commit;
  expect(count(store, 'stageBlock')).toBe(16);
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

test('a file that never stops changing fails the checkpoint by name, and the one before stays', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, { 'busy.log': { kind: 'file', content: 'x' } });
  const service = createMemoryService();
  await committed(testCheckpointer(service.connect(), from.path));
  const before = await readTree(from.path);
  let writes = 0;
  const store = service.connect({
    async before(call) {
      if (call.name.endsWith('/files/busy.log')) await changeFile(`${from.path}/busy.log`, `x${++writes}`);
    },
  });
  await changeFile(`${from.path}/busy.log`, 'y');
  const result = await commitJob(testCheckpointer(store, from.path));
  expect(result).toMatchObject({ kind: 'failed', code: 'file-changing', retryable: true });
  expect(result.kind === 'failed' && result.detail).toContain('busy.log');
  await restoreJob(service.connect(), to.path);
  expect(await readTree(to.path)).toEqual(before);
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

test('an unknown set is refused by stage and commit', async () => {
  const checkpointer = testCheckpointer(createMemoryService().connect(), '/');
  await expect(checkpointer.stage('other', never())).rejects.toMatchObject({ code: 'unknown-set' });
  expect(await checkpointer.commit({ set: 'other', reason: 'notice' }, never())).toMatchObject({
    kind: 'failed',
    code: 'unknown-set',
    retryable: false,
  });
});

test.each(['unavailable', 'throttled', 'network', 'no-token', 'forbidden'] as const)(
  'a store that answers %s fails the commit as retryable',
  async (code) => {
    await using from = await testFolder();
    await writeTree(from.path, { a: { kind: 'file', content: 'a' } });
    const store = createMemoryService().connect({
      before(call) {
        if (call.operation === 'put') throw storeError(code, `no ${call.name}`);
      },
    });
    const result = await commitJob(testCheckpointer(store, from.path));
    expect(result).toMatchObject({ kind: 'failed', code, retryable: true });
  },
);

test('a newest manifest that is broken is reported, and does not stop the next checkpoint', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, { a: { kind: 'file', content: 'a' } });
  const service = createMemoryService();
  await committed(testCheckpointer(service.connect(), from.path));
  service.corrupt(`${PLACE.prefix}/${PLACE.key}/${PLACE.set}/checkpoints/00000001.json`, () =>
    Buffer.from('{'),
  );
  const notes: string[] = [];
  const checkpointer = testCheckpointer(service.connect(), from.path, {
    onNote: (_set, error) => notes.push(error instanceof EvictdError ? error.code : error.message),
  });
  expect(await committed(checkpointer)).toMatchObject({ id: '00000002' });
  expect(notes).toEqual(['bad-manifest']);
  await restoreJob(service.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});
