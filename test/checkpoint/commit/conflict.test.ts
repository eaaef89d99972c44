import { expect, test } from 'vitest';

import {
  committed,
  commitJob,
  never,
  restoreJob,
  shiftedClock,
  testCheckpointer,
} from '../../support/checkpoints.ts';
import { changeFile, pattern, readTree, testFolder, writeTree } from '../../support/file-tree.ts';
import { createPace } from '../../../src/checkpoint/commit/pace.ts';
import { type BlobCall, countCalls, createMemoryBlobs } from '../../support/memory-blobs.ts';
import { MIB, entryBlob, entryIds, noting, packNames } from './rig.ts';

const IDLE = { idleMs: 0, pace: createPace({ bytesPerSecond: Infinity }, { clock: shiftedClock() }) };

async function twoFolders() {
  const one = await testFolder();
  const other = await testFolder();
  await writeTree(one.path, { state: { kind: 'file', content: 'of one' } });
  await writeTree(other.path, { state: { kind: 'file', content: 'of the other' } });
  const dispose = async () => {
    await one[Symbol.asyncDispose]();
    await other[Symbol.asyncDispose]();
  };
  return { one: one.path, other: other.path, [Symbol.asyncDispose]: dispose };
}

test('of two writers of one key the one that was there first gets a conflict that names the other, and never writes again', async () => {
  await using folders = await twoFolders();
  await using to = await testFolder();
  const blobs = createMemoryBlobs();
  const store = blobs.connect();
  const { codes, messages, onNote } = noting();
  const first = testCheckpointer(store, folders.one, { vmName: 'fleet_1' });
  const second = testCheckpointer(blobs.connect(), folders.other, { vmName: 'fleet_2', onNote });
  await committed(first);
  expect(await committed(second)).toMatchObject({ id: '00000004' });
  // The one that comes is told whom it takes the set from.
  expect(codes).toEqual(['took-over']);
  expect(messages[0]).toMatch(/fleet_1 \(id-of-fleet_1\), whose newest entry 00000002 was written .* ago/);
  await changeFile(`${folders.one}/state`, 'of one, later');
  const result = await commitJob(first);
  expect(result).toMatchObject({ kind: 'failed', code: 'conflict', retryable: false });
  expect(result.kind === 'failed' && result.detail).toMatch(
    /fleet_2 \(id-of-fleet_2\).*made checkpoint 00000004 .*checkpoint\.key/s,
  );
  // Not taken over silently at the next attempt, and nothing more is asked or written.
  const before = store.calls.length;
  const names = blobs.names();
  expect(await commitJob(first)).toMatchObject({ kind: 'failed', code: 'conflict' });
  await expect(first.stage('job', never())).rejects.toMatchObject({ code: 'conflict' });
  await expect(first.stageIdle('job', IDLE, never())).rejects.toMatchObject({ code: 'conflict' });
  await expect(first.prepare('job', never())).rejects.toMatchObject({ code: 'conflict' });
  expect(await first.commitIfChanged('job', never())).toMatchObject({ code: 'conflict' });
  expect(store.calls.length).toBe(before);
  expect(blobs.names()).toEqual(names);
  await restoreJob(blobs.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(folders.other));
});

test('a conflict is known before the notice: by a pass in the background', async () => {
  await using folders = await twoFolders();
  const blobs = createMemoryBlobs();
  const clock = shiftedClock();
  const first = testCheckpointer(blobs.connect(), folders.one, { clock });
  await committed(first);
  await committed(testCheckpointer(blobs.connect(), folders.other, { vmName: 'vm-2' }));
  await changeFile(`${folders.one}/state`, 'later');
  const packs = packNames(blobs);
  await expect(first.stageIdle('job', IDLE, never())).rejects.toMatchObject({ code: 'conflict' });
  expect(packNames(blobs)).toEqual(packs);
});

test('a conflict is known by a pass that has nothing to send, once packs are listed anew', async () => {
  await using folders = await twoFolders();
  const blobs = createMemoryBlobs();
  const clock = shiftedClock();
  const first = testCheckpointer(blobs.connect(), folders.one, { clock });
  await committed(first);
  clock.advance(120_000);
  await committed(first);
  await committed(testCheckpointer(blobs.connect(), folders.other, { vmName: 'vm-2' }));
  expect(await first.stageIdle('job', IDLE, never())).toBeUndefined();
  clock.advance(16 * 60_000);
  await expect(first.stageIdle('job', IDLE, never())).rejects.toMatchObject({ code: 'conflict' });
});

test('writers that commit at the same moment: at most one has the checkpoint, unmixed', async () => {
  await using one = await testFolder();
  await using other = await testFolder();
  await using to = await testFolder();
  const tree = (content: string) =>
    Object.fromEntries(Array.from({ length: 20 }, (_, at) => [`f${at}`, { kind: 'file', content } as const]));
  await writeTree(one.path, tree('one'));
  await writeTree(other.path, tree('other'));
  const blobs = createMemoryBlobs();
  // Each is slow where the other is quick.
  const slowAt = (digit: number) => ({
    async before({ name }: BlobCall, number: number) {
      if (number % 2 !== digit || !name.includes('/checkpoints/')) return;
      for (let turns = 0; turns < 50; turns++) await new Promise((resolve) => setImmediate(resolve));
    },
  });
  const writers = [
    { path: one.path, checkpointer: testCheckpointer(blobs.connect(slowAt(0)), one.path) },
    {
      path: other.path,
      checkpointer: testCheckpointer(blobs.connect(slowAt(1)), other.path, { vmName: 'vm-2' }),
    },
  ];
  const results = await Promise.all(writers.map(({ checkpointer }) => commitJob(checkpointer)));
  const kinds = results.map(({ kind }) => kind);
  expect(kinds).toContain('committed');
  const last = kinds.lastIndexOf('committed');
  for (const result of results)
    if (result.kind === 'failed') expect(result).toMatchObject({ code: 'conflict' });
  const { id } = await restoreJob(blobs.connect(), to.path);
  const winner = results.findIndex((result) => result.id === id);
  expect(results[winner]?.kind ?? results[last]?.kind).toBe('committed');
  expect(await readTree(to.path)).toEqual(await readTree(writers[winner]?.path ?? ''));
});

test('another process of the same VM is another writer too: the daemon has a conflict, not a mix', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, {
    same: { kind: 'file', content: 'same' },
    state: { kind: 'file', content: '1' },
  });
  const blobs = createMemoryBlobs();
  const { codes, onNote } = noting();
  const daemon = testCheckpointer(blobs.connect(), from.path);
  await committed(daemon);
  await changeFile(`${from.path}/state`, '2');
  // It is no stranger that it takes the set from.
  expect(await committed(testCheckpointer(blobs.connect(), from.path, { onNote }))).toMatchObject({
    id: '00000004',
  });
  expect(codes).toEqual([]);
  await changeFile(`${from.path}/state`, '3');
  expect(await commitJob(daemon)).toMatchObject({ kind: 'failed', code: 'conflict', retryable: false });
  // Which it goes on from once it is started anew.
  expect(await committed(testCheckpointer(blobs.connect(), from.path))).toMatchObject({ id: '00000006' });
  await restoreJob(blobs.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});

test('a writer that has sent nothing yet goes on from what another one has done since it looked', async () => {
  await using folders = await twoFolders();
  await using to = await testFolder();
  const blobs = createMemoryBlobs();
  const waiting = testCheckpointer(blobs.connect(), folders.one);
  await waiting.prepare('job', never());
  await committed(testCheckpointer(blobs.connect(), folders.other, { vmName: 'vm-2' }));
  expect(await committed(waiting)).toMatchObject({ id: '00000004' });
  await restoreJob(blobs.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(folders.one));
});

test.each(['nothing of it', 'the same content as it'])(
  'a takeover that comes first is gone on from, by a writer that has %s',
  async (what) => {
    await using folders = await twoFolders();
    await using to = await testFolder();
    const content = pattern(9 * MIB);
    await writeTree(folders.other, { big: { kind: 'file', content } });
    if (what !== 'nothing of it') await writeTree(folders.one, { big: { kind: 'file', content } });
    const blobs = createMemoryBlobs();
    const quick = testCheckpointer(blobs.connect(), folders.other, { vmName: 'vm-2' });
    const store = blobs.connect({
      async before({ operation, name }) {
        // It has listed entries and packs by now, and there were none.
        if (operation === 'create' && name === entryBlob('00000001')) await committed(quick);
      },
    });
    const slow = testCheckpointer(store, folders.one);
    expect(await committed(slow)).toMatchObject({ id: '00000004' });
    await restoreJob(blobs.connect(), to.path);
    expect(await readTree(to.path)).toEqual(await readTree(folders.one));
    expect(countCalls(store, 'list', '/packs/')).toBe(2);
  },
);

test('a checkpoint that a successor has already gone on from stays, though it is not acknowledged', async () => {
  await using folders = await twoFolders();
  await using to = await testFolder();
  await writeTree(folders.one, { big: { kind: 'file', content: pattern(2 * MIB) } });
  await writeTree(folders.other, { big: { kind: 'file', content: pattern(2 * MIB) } });
  const blobs = createMemoryBlobs();
  const heir = testCheckpointer(blobs.connect(), folders.other, { vmName: 'vm-2' });
  const store = blobs.connect({
    async after({ operation, name }) {
      if (operation === 'create' && name === entryBlob('00000002')) await heir.stage('job', never());
    },
  });
  const dying = testCheckpointer(store, folders.one);
  const result = await dying.commit({ set: 'job', reason: 'notice' }, never());
  expect(result).toMatchObject({ kind: 'failed', code: 'conflict' });
  // Its packs are what the successor relies on.
  expect(entryIds(blobs)).toEqual(['00000001', '00000002', '00000003']);
  const before = packNames(blobs);
  expect(await committed(heir)).toMatchObject({ id: '00000004' });
  expect(packNames(blobs).filter((name) => !before.includes(name)).length).toBeLessThanOrEqual(2);
  await restoreJob(blobs.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(folders.other));
});

test('a writer that said goodbye is taken over from without a word', async () => {
  await using folders = await twoFolders();
  for (const reason of ['notice', 'shutdown'] as const) {
    const blobs = createMemoryBlobs();
    await testCheckpointer(blobs.connect(), folders.one).commit({ set: 'job', reason }, never());
    const { codes, onNote } = noting();
    await committed(testCheckpointer(blobs.connect(), folders.other, { vmName: 'vm-2', onNote }));
    expect(codes).toEqual([]);
  }
});

test('after a conflict the set is taken over again by somebody who says so, and only then', async () => {
  await using folders = await twoFolders();
  await using to = await testFolder();
  const blobs = createMemoryBlobs();
  const { codes, onNote } = noting();
  const first = testCheckpointer(blobs.connect(), folders.one, { onNote });
  const second = testCheckpointer(blobs.connect(), folders.other, { vmName: 'vm-2' });
  await committed(first);
  await committed(second);
  expect(await commitJob(first)).toMatchObject({ code: 'conflict' });
  const request = { set: 'job', reason: 'command', takeOver: true } as const;
  expect(await first.commit(request, never())).toMatchObject({ kind: 'committed', id: '00000006' });
  expect(codes).toEqual(['took-over']);
  await changeFile(`${folders.one}/state`, 'later');
  expect(await committed(first)).toMatchObject({ id: '00000007' });
  await restoreJob(blobs.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(folders.one));
  // Now it is the other one's.
  expect(await commitJob(second)).toMatchObject({ code: 'conflict' });
});
