import { writeFile } from 'node:fs/promises';

import { expect, test } from 'vitest';

import { EvictdError } from '../../src/base/errors.ts';
import { committed, commitJob, never, PLACE, restoreJob, testCheckpointer } from '../support/checkpoints.ts';
import { changeFile, pattern, readTree, testFolder, writeTree } from '../support/file-tree.ts';
import { countCalls, createMemoryService, storeError } from '../support/memory-store.ts';

const MIB = 1024 ** 2;

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
  const calls = store.calls.slice(before);
  expect(calls.map(({ operation }) => operation).toSorted((one, other) => one.localeCompare(other))).toEqual([
    'commitBlocks',
    'put',
    'put',
    'snapshot',
    'stageBlock',
  ]);
  expect(calls.find(({ operation }) => operation === 'stageBlock')).toEqual({
    operation: 'stageBlock',
    name: 'p/vm-1/job/files/big',
    bytes: 4 * MIB,
  });
  expect((checkpointer.activity().get('job')?.filesRead ?? 0) - readBefore).toBe(1);
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
  expect(countCalls(store, 'stageBlock')).toBe(4);
  expect(await committed(checkpointer)).toMatchObject({ bytesSent: 9 * MIB + 5 });
  expect(countCalls(store, 'stageBlock')).toBe(4);
  expect(countCalls(store, 'put', '/files/')).toBe(0);
});

test('a process knows of the checkpoint that an earlier one made as soon as it has asked the store', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { a: { kind: 'file', content: 'small' } });
  const service = createMemoryService();
  await committed(testCheckpointer(service.connect(), from.path));
  const next = testCheckpointer(service.connect(), from.path);
  expect(next.progress()).toMatchObject([{ checkpointId: undefined, committedAt: undefined }]);
  await next.prepare('job', never());
  expect(next.progress()).toMatchObject([{ checkpointId: '00000001', committedAt: expect.any(Number) }]);
  await committed(next);
  expect(next.progress()).toMatchObject([{ checkpointId: '00000002' }]);
});

test('blocks that an earlier process staged are not sent again', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { big: { kind: 'file', content: pattern(9 * MIB) } });
  const service = createMemoryService();
  await testCheckpointer(service.connect(), from.path).stage('job', never());
  const store = service.connect();
  expect(await committed(testCheckpointer(store, from.path))).toMatchObject({ bytesSent: 0, bytes: 9 * MIB });
  expect(countCalls(store, 'stageBlock')).toBe(0);
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
  const sent = countCalls(store, 'stageBlock');
  const result = await committed(checkpointer);
  expect(result.bytes).toBe(16 * MIB);
  // Blocks whose answer was lost at the abort are asked for or sent again, the others aren't.
  expect(countCalls(store, 'stageBlock')).toBeLessThanOrEqual(sent + 4);
  expect(result.bytesSent).toBeLessThanOrEqual(16 * MIB);
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

test.each(['unavailable', 'throttled', 'network', 'no-token', 'forbidden', 'container-not-found'] as const)(
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
