import {
  chmod,
  cp,
  lstat,
  mkdir,
  readFile,
  rename,
  rm,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { openSystemCalls } from '../../../src/checkpoint/restore/target/system-calls.ts';
import { changeFile, readTree, testFolder, writeTree } from '../../support/file-tree.ts';
import { makeCheckpoint } from '../../support/make-checkpoint.ts';
import { createMemoryBlobs } from '../../support/memory-blobs.ts';
import { at, inPlace, OLD, saved, savedJob, treeOf } from './rig.ts';

/** A workload's folder with a checkpoint of just now: what is done then is newer work on a disk that lives through. */
async function survivor() {
  const there = await saved({
    'ckpt-1/weights': { kind: 'file', content: 'w1' },
    conf: { kind: 'file', content: 'conf-A', mtimeS: OLD },
    LATEST: { kind: 'link', target: 'ckpt-1' },
    'todo/j1': { kind: 'file', content: 'job' },
    'done/j0': { kind: 'file', content: 'job 0' },
  });
  const { from, blobs, made } = there;
  return {
    ...there,
    path: (name: string) => join(from.path, name),
    blobs,
    made,
    [Symbol.asyncDispose]: there[Symbol.asyncDispose],
  };
}

type Survivor = Awaited<ReturnType<typeof survivor>>;

const newWork: [string, string, (job: Survivor) => Promise<unknown>][] = [
  [
    'a link that was flipped by a rename',
    'LATEST',
    async ({ path }) => {
      await symlink('ckpt-2', path('L'));
      await rename(path('L'), path('LATEST'));
    },
  ],
  [
    'a file with an older time, copied over it',
    'conf',
    async ({ path }) => {
      await writeFile(path('other'), 'conf-B');
      await utimes(path('other'), OLD - 1000, OLD - 1000);
      await cp(path('other'), path('conf'), { preserveTimestamps: true });
    },
  ],
  [
    'a file of the same size and time',
    'conf',
    async ({ path }) => {
      await writeFile(path('conf'), 'conf-B');
      await utimes(path('conf'), OLD, OLD);
    },
  ],
  ['a job that was moved on', 'todo/j1', ({ path }) => rename(path('todo/j1'), path('done/j1'))],
  ['a folder that was renamed', 'ckpt-1', ({ path }) => rename(path('ckpt-1'), path('old-1'))],
  ['a file that was removed', 'conf', ({ path }) => rm(path('conf'))],
  ['a file that was written to', 'ckpt-1/weights', ({ path }) => changeFile(path('ckpt-1/weights'), 'w2')],
  [
    'a file that took a link’s place',
    'LATEST',
    async ({ path }) => {
      await rm(path('LATEST'));
      await writeFile(path('LATEST'), 'a file');
    },
  ],
  [
    'a link that took a folder’s place',
    'ckpt-1',
    async ({ path }) => {
      await rename(path('ckpt-1'), path('moved'));
      await symlink('moved', path('ckpt-1'));
    },
  ],
  ['a mode that was changed', 'conf', ({ path }) => chmod(path('conf'), 0o600)],
  ['a folder’s mode that was changed', 'todo', ({ path }) => chmod(path('todo'), 0o700)],
];

test.each(newWork)('%s is newer work, and then nothing is touched', async (_what, path, change) => {
  await using job = await survivor();
  await change(job);
  const facts = async () => ({
    tree: await readTree(job.from.path),
    time: (await lstat(job.from.path, { bigint: true })).mtimeNs,
  });
  const before = await facts();
  const store = job.blobs.connect();
  expect(await inPlace(store, job.from.path)).toEqual({ kind: 'newer-on-disk', id: '00000001', path });
  expect(await facts()).toEqual(before);
  expect(store.calls.filter(({ name }) => job.made.packsOf('conf').includes(name))).toEqual([]);
  const forced = inPlace(store, job.from.path, { force: true });
  // What is no folder isn't replaced by one, whatever is asked for.
  if (path === 'ckpt-1' && (await lstat(job.path(path)).catch(() => undefined))?.isSymbolicLink() === true) {
    await expect(forced).rejects.toMatchObject({ code: 'unsafe-target' });
  } else expect(await forced).toMatchObject({ kind: 'restored' });
});

test('a machine that was only started anew keeps everything, and what is new beside it', async () => {
  await using job = await survivor();
  await writeFile(job.path('todo/j2'), 'new');
  const { ino } = await lstat(job.path('conf'));
  expect(await inPlace(job.blobs.connect(), job.from.path)).toMatchObject({
    kind: 'restored',
    result: { files: 4, filesKept: 4, bytesFetched: 0 },
  });
  expect((await lstat(job.path('conf'))).ino).toBe(ino);
  expect(await readFile(job.path('todo/j2'), 'utf8')).toBe('new');
});

test('what a disk lost of its last writes comes back, whatever the times say', async () => {
  await using job = await survivor();
  const blobs = createMemoryBlobs();
  // All of it was there when the checkpoint was made.
  await makeCheckpoint(blobs, job.from.path, { manifest: at(3600) });
  const wanted = await readTree(job.from.path);
  using system = openSystemCalls();
  const timeOf = async (name: string) => (await lstat(job.path(name), { bigint: true })).mtimeNs;
  const writtenAt = await timeOf('ckpt-1/weights');
  await truncate(job.path('ckpt-1/weights'), 0);
  system.setTime(job.path('ckpt-1/weights'), writtenAt);
  await writeFile(job.path('conf'), '\0\0\0\0\0\0');
  await utimes(job.path('conf'), OLD, OLD);
  const listedAt = await timeOf('todo');
  await rm(job.path('todo/j1'));
  system.setTime(job.path('todo'), listedAt);
  expect(await inPlace(blobs.connect(), job.from.path)).toMatchObject({
    kind: 'restored',
    result: { filesKept: 1 },
  });
  expect((await treeOf(job.from.path)).tree).toEqual(wanted);
});

test('what a new disk has from an image or was put there is replaced, but not what was written since', async () => {
  await using there = await savedJob();
  await using to = await testFolder();
  await writeTree(to.path, {
    a: { kind: 'file', content: 'seed', mtimeS: OLD - 1000 },
    dir: { kind: 'folder' },
  });
  expect(await inPlace(there.blobs.connect(), to.path)).toMatchObject({ kind: 'restored' });
  expect((await treeOf(to.path)).tree).toEqual(there.tree);
  await using other = await testFolder();
  await writeTree(other.path, { 'dir/b': { kind: 'file', content: 'started from nothing' } });
  expect(await inPlace(there.blobs.connect(), other.path)).toMatchObject({
    kind: 'newer-on-disk',
    path: 'dir/b',
  });
});

test('an empty folder that was made before is no folder whose files were taken away', async () => {
  await using there = await savedJob();
  await using to = await testFolder();
  await mkdir(join(to.path, 'dir'));
  expect(await inPlace(there.blobs.connect(), to.path)).toMatchObject({ kind: 'restored' });
  expect((await treeOf(to.path)).tree).toEqual(there.tree);
});

test('a time that the checkpoint has itself is no news, however far in the future', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { a: { kind: 'file', content: 'a', mtimeS: 4_000_000_000 } });
  const blobs = createMemoryBlobs();
  await makeCheckpoint(blobs, from.path);
  expect(await inPlace(blobs.connect(), from.path)).toMatchObject({
    kind: 'restored',
    result: { filesKept: 1 },
  });
});

test('what is there of the checkpoint before is no newer work, as long as that can be told', async () => {
  await using there = await survivor();
  const { from, blobs, made, path } = there;
  await writeFile(path('conf'), 'conf-B');
  await makeCheckpoint(blobs, from.path, { after: made });
  const wanted = await readTree(from.path);
  await writeFile(path('conf'), 'conf-A');
  await utimes(path('conf'), OLD, OLD);
  expect(await inPlace(blobs.connect(), from.path)).toMatchObject({ kind: 'restored' });
  expect((await treeOf(from.path)).tree).toEqual(wanted);
  await writeFile(path('conf'), 'conf-A');
  await utimes(path('conf'), OLD, OLD);
  blobs.remove(made.name);
  expect(await inPlace(blobs.connect(), from.path)).toMatchObject({ kind: 'newer-on-disk', path: 'conf' });
});
