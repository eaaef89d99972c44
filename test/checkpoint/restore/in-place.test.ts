import { access, lstat, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { readMachine, readRestoreState } from '../../../src/checkpoint/restore/target/markers.ts';
import { restoredBefore } from '../../../src/checkpoint/restore/restore-in-place.ts';
import { testFolder } from '../../support/file-tree.ts';
import { createMemoryBlobs, storeError } from '../../support/memory-blobs.ts';
import { inPlace, savedJob, treeOf } from './rig.ts';

test('a folder says when it was restored from which checkpoint, to everybody', async () => {
  await using there = await savedJob();
  await using folder = await testFolder();
  const target = join(folder.path, 'new/job');
  expect(await inPlace(there.blobs.connect(), target)).toMatchObject({
    kind: 'restored',
    result: { id: '00000001' },
  });
  expect(await treeOf(target)).toEqual({ tree: there.tree, isMarked: true });
  const mark = join(target, '.evictd-restored');
  expect((await lstat(mark)).mode & 0o777).toBe(0o644);
  expect(JSON.parse(await readFile(mark, 'utf8'))).toMatchObject({ set: 'job', key: 'vm-1', id: '00000001' });
  // As it was where the checkpoint was made, so that the workload can use it.
  expect((await lstat(target)).mode & 0o777).toBe(0o750);
});

test('what was restored before on this machine is known without the store, and by nothing else', async () => {
  await using there = await savedJob();
  await using to = await testFolder();
  await inPlace(there.blobs.connect(), to.path);
  const known = (
    wanted: Parameters<typeof restoredBefore>[1],
    machine: string | undefined = 'this machine',
  ) => restoredBefore(to.path, wanted, machine)?.id;
  expect(known({ set: 'job' })).toBe('00000001');
  expect(known({ set: 'job', key: 'vm-1', id: '00000001' })).toBe('00000001');
  expect(known({ set: 'other' })).toBeUndefined();
  expect(known({ set: 'job', key: 'vm-2' })).toBeUndefined();
  expect(known({ set: 'job', id: '00000002' })).toBeUndefined();
  // An image of the disk, started elsewhere.
  expect(known({ set: 'job' }, 'another machine')).toBeUndefined();
  expect(restoredBefore(to.path, { set: 'job' }, undefined)).toBeUndefined();
  await writeFile(join(to.path, '.evictd-restored'), '{"version":1');
  expect(known({ set: 'job' })).toBeUndefined();
});

test('a restore that breaks off leaves the folder marked as half, and the next goes on, over anything', async () => {
  await using there = await savedJob();
  await using to = await testFolder();
  await inPlace(there.blobs.connect(), to.path);
  await rm(join(to.path, 'a'));
  const packs = there.made.packsOf('a');
  const broken = there.blobs.connect({
    before(call) {
      if (packs.includes(call.name)) throw storeError('unavailable', 'gone');
    },
  });
  await expect(inPlace(broken, to.path, { force: true })).rejects.toMatchObject({ code: 'unavailable' });
  expect(readRestoreState(to.path)).toEqual({ kind: 'unfinished' });
  expect(await readdir(to.path)).not.toContain('.evictd-restored');
  expect(restoredBefore(to.path, { set: 'job' }, 'this machine')).toBeUndefined();
  await writeFile(join(to.path, 'dir/b'), 'half');
  expect(await inPlace(there.blobs.connect(), to.path)).toMatchObject({ kind: 'restored' });
  expect(await treeOf(to.path)).toEqual({ tree: there.tree, isMarked: true });
});

test('without a checkpoint nothing is made', async () => {
  await using folder = await testFolder();
  const target = join(folder.path, 'job');
  await expect(inPlace(createMemoryBlobs().connect(), target)).rejects.toMatchObject({
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
});
