import { readdir, writeFile } from 'node:fs/promises';

import { expect, test } from 'vitest';

import { EvictdError } from '../../../src/base/errors.ts';
import {
  committed,
  commitJob,
  never,
  restoreJob,
  shiftedClock,
  testCheckpointer,
} from '../../support/checkpoints.ts';
import { changeFile, pattern, readTree, testFolder, writeTree } from '../../support/file-tree.ts';
import { countCalls, createMemoryBlobs, storeError } from '../../support/memory-blobs.ts';
import { MIB, entryBlob, entryIds, noting, packBytes } from './rig.ts';

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
  const blobs = createMemoryBlobs();
  const checkpointer = testCheckpointer(blobs.connect(), from.path);
  const result = await committed(checkpointer);
  // The first entry says whose the set is.
  expect(result).toMatchObject({ id: '00000002', files: 4, bytes: 9 * MIB + 8 });
  expect(result.bytesSent).toBeLessThan(9 * MIB + 4096);
  const restored = await restoreJob(blobs.connect(), to.path);
  expect(restored).toMatchObject({ id: '00000002', files: 4, filesKept: 0 });
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});

test('a second checkpoint sends the changed chunk and a piece of the tree, and reads the changed file only', async () => {
  await using from = await testFolder();
  const content = pattern(20 * MIB);
  await writeTree(from.path, {
    big: { kind: 'file', content },
    ...Object.fromEntries(
      Array.from({ length: 50 }, (_, i) => [`small/${i}`, { kind: 'file', content: `${i}` }]),
    ),
  });
  const store = createMemoryBlobs().connect();
  const clock = shiftedClock();
  const checkpointer = testCheckpointer(store, from.path, { clock });
  await committed(checkpointer);
  // Times are beyond doubt once a file was read a minute after they were seen.
  clock.advance(120_000);
  await committed(checkpointer);
  const before = store.calls.length;
  const readBefore = checkpointer.activity().get('job')?.filesRead ?? 0;
  content.write('changed', 9 * MIB);
  await changeFile(`${from.path}/big`, content);
  const result = await committed(checkpointer);
  expect(result).toMatchObject({ id: '00000003', files: 51 });
  expect(result.bytesSent).toBeLessThan(1.05 * MIB);
  const calls = store.calls.slice(before).map(({ operation, name }) => `${operation} ${name.split('/')[4]}`);
  expect(calls.toSorted((one, other) => one.localeCompare(other))).toEqual([
    'create checkpoints',
    'create packs',
    'create packs',
    'list checkpoints',
    'list checkpoints',
  ]);
  expect((checkpointer.activity().get('job')?.filesRead ?? 0) - readBefore).toBe(1);
});

test('files that nobody has touched are looked at once', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { a: { kind: 'file', content: 'a' }, 'b/c': { kind: 'file', content: 'c' } });
  const clock = shiftedClock();
  const checkpointer = testCheckpointer(createMemoryBlobs().connect(), from.path, { clock });
  await committed(checkpointer);
  expect(checkpointer.activity().get('job')).toMatchObject({ scans: 2, filesRead: 2 });
  clock.advance(120_000);
  await committed(checkpointer);
  expect(checkpointer.activity().get('job')).toMatchObject({ scans: 4, filesRead: 4 });
  expect(await committed(checkpointer)).toMatchObject({ files: 2, bytesSent: 0 });
  expect(checkpointer.activity().get('job')).toMatchObject({ scans: 5, filesRead: 4 });
});

test('a process with the index of the one before reads nothing; without it reads all and sends no file', async () => {
  await using from = await testFolder();
  await using index = await testFolder();
  await writeTree(from.path, {
    a: { kind: 'file', content: 'a' },
    b: { kind: 'file', content: pattern(5 * MIB) },
  });
  const blobs = createMemoryBlobs();
  const clock = shiftedClock();
  const options = { indexDirectory: index.path, clock };
  const first = testCheckpointer(blobs.connect(), from.path, options);
  await committed(first);
  clock.advance(120_000);
  await committed(first);
  await first.close();
  const store = blobs.connect();
  const second = testCheckpointer(store, from.path, options);
  expect(await committed(second)).toMatchObject({ id: '00000002', files: 2, bytesSent: 0 });
  expect(second.activity().get('job')).toMatchObject({ filesRead: 0, bytesRead: 0 });
  expect(countCalls(store, 'create')).toBe(0);
  await second.close();
  const third = blobs.connect();
  const without = testCheckpointer(third, from.path);
  expect(await committed(without)).toMatchObject({ id: '00000002', files: 2 });
  expect(without.activity().get('job')).toMatchObject({ filesRead: 2, bytesRead: 5 * MIB + 1 });
  expect(packBytes(third)).toBeLessThan(4096);
  await without.close();
});

test('an index that is broken is reported and replaced', async () => {
  await using from = await testFolder();
  await using index = await testFolder();
  await writeTree(from.path, { a: { kind: 'file', content: 'a' } });
  await writeFile(`${index.path}/job.index.jsonl`, '{"version":1,\n');
  const { codes, onNote } = noting();
  const blobs = createMemoryBlobs();
  const clock = shiftedClock();
  const options = { indexDirectory: index.path, clock, onNote };
  const checkpointer = testCheckpointer(blobs.connect(), from.path, options);
  await committed(checkpointer);
  clock.advance(120_000);
  await committed(checkpointer);
  await checkpointer.close();
  expect(codes).toEqual(['index-unusable']);
  const next = testCheckpointer(blobs.connect(), from.path, options);
  await committed(next);
  expect(next.activity().get('job')?.filesRead).toBe(0);
  expect(codes).toHaveLength(1);
  await next.close();
});

test('staging sends the content, and the commit after it sends none', async () => {
  await using from = await testFolder();
  await writeTree(from.path, {
    a: { kind: 'file', content: 'small' },
    b: { kind: 'file', content: pattern(9 * MIB) },
  });
  const store = createMemoryBlobs().connect();
  const checkpointer = testCheckpointer(store, from.path);
  await checkpointer.stage('job', never());
  expect(checkpointer.estimate().bytesLeft).toBe(0);
  expect(checkpointer.progress()).toMatchObject([{ name: 'job', files: 2, bytesStored: 9 * MIB + 5 }]);
  const staged = packBytes(store);
  expect(staged).toBeGreaterThan(9 * MIB + 5);
  // What was sent for it, staging included.
  expect((await committed(checkpointer)).bytesSent).toBeGreaterThan(9 * MIB);
  expect(packBytes(store) - staged).toBeLessThan(4096);
});

test('a process knows of the checkpoint that an earlier one made as soon as it has asked the store', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { a: { kind: 'file', content: 'small' } });
  const blobs = createMemoryBlobs();
  await committed(testCheckpointer(blobs.connect(), from.path));
  const next = testCheckpointer(blobs.connect(), from.path);
  expect(next.progress()).toMatchObject([{ checkpointId: undefined, committedAt: undefined }]);
  await next.prepare('job', never());
  expect(next.progress()).toMatchObject([{ checkpointId: '00000002', committedAt: expect.any(Number) }]);
  await changeFile(`${from.path}/a`, 'other');
  await committed(next);
  expect(next.progress()).toMatchObject([{ checkpointId: '00000004' }]);
});

test('to look at what is there leaves nothing in the store', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { a: { kind: 'file', content: 'small' } });
  const blobs = createMemoryBlobs();
  await testCheckpointer(blobs.connect(), from.path).prepare('job', never());
  expect(blobs.names()).toEqual([]);
});

test('an aborted commit fails as retryable, at once, and the next one goes on where it stopped', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, { big: { kind: 'file', content: pattern(64 * MIB) } });
  const blobs = createMemoryBlobs();
  const abort = new AbortController();
  const store = blobs.connect({
    after({ operation, name }) {
      if (operation !== 'create' || !name.includes('/packs/') || abort.signal.aborted) return;
      if (countCalls(store, 'create', '/packs/') < 5) return;
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
  const sent = packBytes(store);
  await committed(checkpointer);
  // What was on its way at the abort is sent again, what was stored isn't.
  expect(packBytes(store)).toBeLessThan(sent + 64 * MIB - 8 * MIB);
  await restoreJob(blobs.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});

test('an unknown set is refused by stage and commit', async () => {
  const checkpointer = testCheckpointer(createMemoryBlobs().connect(), '/');
  await expect(checkpointer.stage('other', never())).rejects.toMatchObject({ code: 'unknown-set' });
  expect(await checkpointer.commit({ set: 'other', reason: 'notice' }, never())).toMatchObject({
    kind: 'failed',
    code: 'unknown-set',
    retryable: false,
  });
});

const CODES = [
  'unavailable',
  'throttled',
  'network',
  'no-token',
  'forbidden',
  'container-not-found',
  'timeout',
] as const;

test.each(['format.json', 'packs/', 'checkpoints/00000001', 'checkpoints/00000002'])(
  'a store that refuses to write %s fails the commit with what it says, and nothing stays open',
  async (what) => {
    await using from = await testFolder();
    await writeTree(from.path, {
      a: { kind: 'file', content: 'a' },
      b: { kind: 'file', content: pattern(9 * MIB) },
    });
    const fds = (await readdir('/proc/self/fd')).length;
    for (const code of CODES) {
      let isFailing = true;
      const store = createMemoryBlobs().connect({
        before({ operation, name }) {
          if (isFailing && operation === 'create' && name.includes(what))
            throw storeError(code, `no ${name}`);
        },
      });
      const checkpointer = testCheckpointer(store, from.path);
      expect(await commitJob(checkpointer)).toMatchObject({ kind: 'failed', code, retryable: true });
      isFailing = false;
      await committed(checkpointer);
      await checkpointer.close();
    }
    expect((await readdir('/proc/self/fd')).length).toBeLessThanOrEqual(fds);
  },
);

test('a newest manifest that is broken is reported, and does not stop the next checkpoint', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, { a: { kind: 'file', content: 'a' } });
  const blobs = createMemoryBlobs();
  await committed(testCheckpointer(blobs.connect(), from.path));
  blobs.corrupt(entryBlob('00000002'), () => Buffer.from('{'));
  const { codes, onNote } = noting();
  const checkpointer = testCheckpointer(blobs.connect(), from.path, { onNote });
  expect(await committed(checkpointer)).toMatchObject({ id: '00000004' });
  expect(new Set(codes)).toEqual(new Set(['bad-manifest']));
  await restoreJob(blobs.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});

test('a newest entry of a newer format is left alone: the set is not written, and that is final', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { a: { kind: 'file', content: 'a' } });
  const blobs = createMemoryBlobs();
  const first = testCheckpointer(blobs.connect(), from.path);
  await committed(first);
  blobs.corrupt(entryBlob('00000002'), (body) =>
    Buffer.from(body.toString().replace(/"version": ?1/, '"version": 2')),
  );
  const before = blobs.names();
  const next = testCheckpointer(blobs.connect(), from.path);
  expect(await commitJob(next)).toMatchObject({ kind: 'failed', code: 'manifest-version', retryable: false });
  await expect(next.stage('job', never())).rejects.toMatchObject({ code: 'manifest-version' });
  expect(blobs.names()).toEqual(before);
  expect(entryIds(blobs)).toEqual(['00000001', '00000002']);
});
