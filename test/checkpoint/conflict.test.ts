import { expect, test } from 'vitest';

import { committed, commitJob, never, restoreJob, testCheckpointer } from '../support/checkpoints.ts';
import { changeFile, pattern, readTree, testFolder, writeTree } from '../support/file-tree.ts';
import { createMemoryService, type StoreCall } from '../support/memory-store.ts';

const MIB = 1024 ** 2;

test('of two writers of one key, the second gets a conflict that names the first, and keeps it', async () => {
  await using one = await testFolder();
  await using other = await testFolder();
  await using to = await testFolder();
  await writeTree(one.path, { state: { kind: 'file', content: 'of one' } });
  await writeTree(other.path, { state: { kind: 'file', content: 'of the other' } });
  const service = createMemoryService();
  const first = testCheckpointer(service.connect(), one.path, { vmName: 'fleet_1' });
  const second = testCheckpointer(service.connect(), other.path, { vmName: 'fleet_2' });
  await first.stage('job', never());
  await second.stage('job', never());
  await committed(first);
  const result = await commitJob(second);
  expect(result).toMatchObject({ kind: 'failed', code: 'conflict', retryable: false });
  expect(result.kind === 'failed' && result.detail).toMatch(/fleet_1.*checkpoint\.key/);
  // Not taken over silently at the next attempt.
  expect(await commitJob(second)).toMatchObject({ kind: 'failed', code: 'conflict' });
  await expect(second.stage('job', never())).rejects.toMatchObject({ code: 'conflict' });
  expect(await committed(first)).toMatchObject({ id: '00000002' });
  await restoreJob(service.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(one.path));
});

test('writers that commit at the same moment: exactly one has the checkpoint, unmixed', async () => {
  await using one = await testFolder();
  await using other = await testFolder();
  await using to = await testFolder();
  const names = Array.from({ length: 20 }, (_, index) => `f${index + 10}`);
  const tree = (content: string) =>
    Object.fromEntries(names.map((name) => [name, { kind: 'file', content } as const]));
  await writeTree(one.path, tree('one'));
  await writeTree(other.path, tree('other'));
  const service = createMemoryService();
  // Each is slow where the other is quick: without a claim each would win half of the files, and both would fail.
  const slowAt = (digit: string) => ({
    async before({ name }: StoreCall) {
      for (let turns = 0; turns < 50 && name.includes(`/files/f${digit}`); turns++) {
        await new Promise((resolve) => setImmediate(resolve));
      }
    },
  });
  const writers = [
    { path: one.path, checkpointer: testCheckpointer(service.connect(slowAt('1')), one.path) },
    {
      path: other.path,
      checkpointer: testCheckpointer(service.connect(slowAt('2')), other.path, { vmName: 'vm-2' }),
    },
  ];
  for (const { checkpointer } of writers) await checkpointer.stage('job', never());
  const results = await Promise.all(writers.map(({ checkpointer }) => commitJob(checkpointer)));
  const kinds = results.map(({ kind }) => kind);
  expect(kinds.filter((kind) => kind === 'committed')).toHaveLength(1);
  expect(results[kinds.indexOf('failed')]).toMatchObject({ code: 'conflict', retryable: false });
  await restoreJob(service.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(writers[kinds.indexOf('committed')]?.path ?? ''));
});

test('a writer that was overtaken between two of its commits has a conflict', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { state: { kind: 'file', content: '1' } });
  const service = createMemoryService();
  const old = testCheckpointer(service.connect(), from.path, { vmName: 'old' });
  await committed(old);
  const replacement = testCheckpointer(service.connect(), from.path, { vmName: 'replacement' });
  expect(await committed(replacement)).toMatchObject({ id: '00000002' });
  await changeFile(`${from.path}/state`, '2');
  expect(await commitJob(old)).toMatchObject({ kind: 'failed', code: 'conflict', retryable: false });
  expect(await committed(replacement)).toMatchObject({ id: '00000003' });
});

test('a blob that something else overwrote is a conflict that says so', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { state: { kind: 'file', content: '1' } });
  const service = createMemoryService();
  const store = service.connect();
  const checkpointer = testCheckpointer(store, from.path);
  await committed(checkpointer);
  const name = 'p/vm-1/job/files/state';
  const etag = (await store.head(name, never()))?.etag ?? '';
  const write = { condition: { ifEtag: etag }, metadata: {}, contentType: 'text/plain' };
  await store.put(name, Buffer.from('by hand'), write, never());
  await changeFile(`${from.path}/state`, '2');
  const result = await commitJob(checkpointer);
  expect(result).toMatchObject({ kind: 'failed', code: 'conflict' });
  expect(result.kind === 'failed' && result.detail).toContain('something else than evictd');
});

test('another process of the same VM, in the same boot, is no other writer: the next attempt goes on from it', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, {
    same: { kind: 'file', content: 'same' },
    state: { kind: 'file', content: '1' },
    big: { kind: 'file', content: pattern(9 * MIB) },
  });
  const service = createMemoryService();
  const daemon = testCheckpointer(service.connect(), from.path);
  await committed(daemon);
  await changeFile(`${from.path}/state`, '2');
  expect(await committed(testCheckpointer(service.connect(), from.path))).toMatchObject({ id: '00000002' });
  await changeFile(`${from.path}/state`, '3');
  const result = await commitJob(daemon);
  expect(result).toMatchObject({ kind: 'failed', code: 'overtaken', retryable: true });
  expect(result.kind === 'failed' && result.detail).toContain('another evictd process of this VM');
  expect(await committed(daemon)).toMatchObject({ id: '00000003', bytesSent: 1 });
  await restoreJob(service.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});

test('what another VM wrote is not taken over, also when own processes wrote before it', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { state: { kind: 'file', content: '1' } });
  const service = createMemoryService();
  const daemon = testCheckpointer(service.connect(), from.path);
  await committed(daemon);
  await committed(testCheckpointer(service.connect(), from.path));
  expect(await commitJob(daemon)).toMatchObject({ code: 'overtaken' });
  await committed(testCheckpointer(service.connect(), from.path, { vmName: 'other' }));
  for (let attempt = 0; attempt < 2; attempt++) {
    expect(await commitJob(daemon)).toMatchObject({ kind: 'failed', code: 'conflict', retryable: false });
  }
});
