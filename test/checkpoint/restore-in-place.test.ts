import { access, chmod, lstat, mkdir, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import { restoredBefore, restoreInPlace } from '../../src/checkpoint/restore-in-place.ts';
import { readMachine, readRestoreState } from '../../src/checkpoint/restore-marker.ts';
import type { BlobStore } from '../../src/checkpoint/store.ts';
import { commitJob, committed, never, PLACE, testCheckpointer } from '../support/checkpoints.ts';
import { readTree, testFolder, writeTree } from '../support/file-tree.ts';
import { createMemoryService, storeError } from '../support/memory-store.ts';

const OLD = 1_700_000_000;

async function savedJob() {
  await using from = await testFolder();
  await writeTree(from.path, {
    a: { kind: 'file', content: 'saved', mtimeS: OLD },
    'dir/b': { kind: 'file', content: 'b', mtimeS: OLD },
  });
  await chmod(from.path, 0o750);
  const service = createMemoryService();
  await committed(testCheckpointer(service.connect(), from.path, { clock: systemClock }));
  return { service, tree: await readTree(from.path) };
}

function inPlace(store: BlobStore, target: string, more: { force?: boolean; machine?: string } = {}) {
  const { force = false, machine = 'this machine' } = more;
  return restoreInPlace({ ...PLACE, target, force, machine }, { store, clock: systemClock }, never());
}

/** The tree without what evictd says of it. */
async function treeOf(folder: string) {
  const { '.evictd-restored': mark, ...tree } = await readTree(folder);
  return { tree, isMarked: mark !== undefined };
}

test('a folder says when it was restored from which checkpoint, to everybody', async () => {
  const { service, tree } = await savedJob();
  await using folder = await testFolder();
  const target = join(folder.path, 'new/job');
  expect(await inPlace(service.connect(), target)).toMatchObject({
    kind: 'restored',
    result: { id: '00000001' },
  });
  expect(await treeOf(target)).toEqual({ tree, isMarked: true });
  const mark = join(target, '.evictd-restored');
  expect((await lstat(mark)).mode & 0o777).toBe(0o644);
  expect(JSON.parse(await readFile(mark, 'utf8'))).toMatchObject({ set: 'job', key: 'vm-1', id: '00000001' });
  // As it was where the checkpoint was made, so that the workload can use it.
  expect((await lstat(target)).mode & 0o777).toBe(0o750);
});

test('what was restored before on this machine is known without the store, and by nothing else', async () => {
  const { service } = await savedJob();
  await using to = await testFolder();
  await inPlace(service.connect(), to.path);
  const known = async (
    wanted: Parameters<typeof restoredBefore>[1],
    machine: string | undefined = 'this machine',
  ) => (await restoredBefore(to.path, wanted, machine))?.id;
  expect(await known({ set: 'job' })).toBe('00000001');
  expect(await known({ set: 'job', key: 'vm-1', id: '00000001' })).toBe('00000001');
  expect(await known({ set: 'other' })).toBeUndefined();
  expect(await known({ set: 'job', key: 'vm-2' })).toBeUndefined();
  expect(await known({ set: 'job', id: '00000002' })).toBeUndefined();
  // An image of the disk, started elsewhere.
  expect(await known({ set: 'job' }, 'another machine')).toBeUndefined();
  expect(await restoredBefore(to.path, { set: 'job' }, undefined)).toBeUndefined();
  await writeFile(join(to.path, '.evictd-restored'), '{"version":1');
  expect(await known({ set: 'job' })).toBeUndefined();
});

test('a restore that breaks off leaves the folder marked as half, and that is never checkpointed', async () => {
  const { service, tree } = await savedJob();
  await using to = await testFolder();
  await inPlace(service.connect(), to.path);
  await rm(join(to.path, 'a'));
  const broken = service.connect({
    before(call) {
      if (call.operation === 'download' && call.name.endsWith('/files/a'))
        throw storeError('unavailable', 'gone');
    },
  });
  await expect(inPlace(broken, to.path)).rejects.toMatchObject({ code: 'unavailable' });
  expect(await readRestoreState(to.path)).toEqual({ kind: 'unfinished' });
  expect(await readdir(to.path)).not.toContain('.evictd-restored');
  expect(await restoredBefore(to.path, { set: 'job' }, 'this machine')).toBeUndefined();
  expect(await commitJob(testCheckpointer(service.connect(), to.path))).toMatchObject({
    kind: 'failed',
    code: 'restore-unfinished',
  });
  // The next try goes on, also over a file that looks newer than the checkpoint.
  await writeFile(join(to.path, 'dir/b'), 'half');
  expect(await inPlace(service.connect(), to.path)).toMatchObject({
    kind: 'restored',
    result: { id: '00000001' },
  });
  expect(await treeOf(to.path)).toEqual({ tree, isMarked: true });
});

test('the marks and leftovers are not part of a checkpoint', async () => {
  const { service } = await savedJob();
  await using to = await testFolder();
  await inPlace(service.connect(), to.path);
  await mkdir(join(to.path, 'sub'));
  await writeFile(join(to.path, 'sub/.evictd-restore-0123456789abcdef'), 'leftover');
  await writeFile(join(to.path, 'sub/.evictd-restored'), 'only at the top it is a mark');
  expect(await committed(testCheckpointer(service.connect(), to.path))).toMatchObject({
    id: '00000002',
    files: 3,
  });
});

test('what a killed restore has left is removed by the next', async () => {
  const { service, tree } = await savedJob();
  await using to = await testFolder();
  await mkdir(join(to.path, 'dir'));
  for (const folder of ['', 'dir/'])
    await writeFile(join(to.path, `${folder}.evictd-restore-0123456789abcdef`), 'left');
  await inPlace(service.connect(), to.path);
  expect((await treeOf(to.path)).tree).toEqual(tree);
});

test('a file that was changed after the checkpoint was made keeps the whole folder from being touched', async () => {
  const { service, tree } = await savedJob();
  await using to = await testFolder();
  await writeTree(to.path, {
    a: { kind: 'file', content: 'older', mtimeS: OLD - 1000 },
    'dir/b': { kind: 'file', content: 'newer' },
  });
  const before = await readTree(to.path);
  expect(await inPlace(service.connect(), to.path)).toEqual({
    kind: 'newer-on-disk',
    id: '00000001',
    path: 'dir/b',
  });
  expect(await readTree(to.path)).toEqual(before);
  expect(await inPlace(service.connect(), to.path, { force: true })).toMatchObject({ kind: 'restored' });
  expect((await treeOf(to.path)).tree).toEqual(tree);
});

test('what is older than the checkpoint, as in an image, is replaced', async () => {
  const { service, tree } = await savedJob();
  await using to = await testFolder();
  await writeTree(to.path, { a: { kind: 'file', content: 'seed', mtimeS: OLD - 1000 } });
  expect(await inPlace(service.connect(), to.path)).toMatchObject({ kind: 'restored' });
  expect((await treeOf(to.path)).tree).toEqual(tree);
});

test('a time that the checkpoint has itself is no news, however far in the future', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, { a: { kind: 'file', content: 'a' } });
  await utimes(join(from.path, 'a'), 4_000_000_000, 4_000_000_000);
  const service = createMemoryService();
  await committed(testCheckpointer(service.connect(), from.path));
  await inPlace(service.connect(), to.path);
  expect(await inPlace(service.connect(), to.path)).toMatchObject({
    kind: 'restored',
    result: { filesKept: 1 },
  });
});

test('without a checkpoint nothing is made', async () => {
  await using folder = await testFolder();
  const target = join(folder.path, 'job');
  await expect(inPlace(createMemoryService().connect(), target)).rejects.toMatchObject({
    code: 'nothing-found',
  });
  await expect(access(target)).rejects.toMatchObject({ code: 'ENOENT' });
});

test('a machine is named by a hash of its id, or not at all', async () => {
  await using folder = await testFolder();
  const file = join(folder.path, 'machine-id');
  expect(await readMachine(file)).toBeUndefined();
  await writeFile(file, 'uninitialized\n');
  expect(await readMachine(file)).toBeUndefined();
  await writeFile(file, '0123456789abcdef0123456789abcdef\n');
  expect(await readMachine(file)).toMatch(/^[0-9a-f]{32}$/);
  expect(await readMachine(file)).not.toContain('0123456789abcdef');
});
