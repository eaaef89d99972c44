import { chmod, link, lstat, open, readFile, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { pattern, readTree, testFolder, writeTree } from '../../support/file-tree.ts';
import { makeCheckpoint } from '../../support/make-checkpoint.ts';
import { countCalls, createMemoryBlobs } from '../../support/memory-blobs.ts';
import { MIB, restoreJob, saved } from './rig.ts';

/** A checkpoint of a tree, restored into a folder of its own. */
async function restored(tree: Parameters<typeof saved>[0]) {
  const there = await saved(tree);
  const to = await testFolder();
  await restoreJob(there.blobs.connect(), to.path);
  const wanted = await readTree(there.from.path);
  expect(await readTree(to.path)).toEqual(wanted);
  const dispose = async () => {
    await to[Symbol.asyncDispose]();
    await there[Symbol.asyncDispose]();
  };
  return { ...there, tree: wanted, to, store: there.blobs.connect(), [Symbol.asyncDispose]: dispose };
}

test('an unchanged target is left as it is, to the last inode and time, and nothing is fetched', async () => {
  await using there = await restored({
    big: { kind: 'file', content: pattern(9 * MIB), mode: 0o640, mtimeS: 1_700_000_000.25 },
    'folder/small': { kind: 'file', content: 'small', mode: 0o600 },
    empty: { kind: 'file', content: '' },
    link: { kind: 'link', target: 'big' },
    'folder/below': { kind: 'folder', mode: 0o711, mtimeS: 1_600_000_000 },
  });
  const { to, store } = there;
  const paths = ['big', 'folder', 'folder/small', 'empty', 'link', 'folder/below'];
  const facts = () =>
    Promise.all(
      paths.map(async (path) => {
        const { ino, ctimeNs, mtimeNs } = await lstat(join(to.path, path), { bigint: true });
        return { ino, ctimeNs, mtimeNs };
      }),
    );
  const before = await facts();
  expect(await restoreJob(store, to.path)).toMatchObject({ files: 3, filesKept: 3, bytesFetched: 0 });
  expect(await facts()).toEqual(before);
  // The entries, the manifest, a hold, the manifest still there, the packs, the one that has its tree; the hold's end.
  expect(store.calls.length).toBe(7);
});

test('a file with the right content and another time and mode is kept and gets them back', async () => {
  await using there = await restored({
    a: { kind: 'file', content: 'a', mode: 0o604, mtimeS: 1_700_000_000 },
  });
  const { to, store, tree } = there;
  await utimes(join(to.path, 'a'), 1, 1);
  await chmod(join(to.path, 'a'), 0o600);
  expect(await restoreJob(store, to.path)).toMatchObject({ filesKept: 1, bytesFetched: 0 });
  expect(await readTree(to.path)).toEqual(tree);
});

test.each([
  ['changed in one place', (file: string) => changeBytes(file, [9 * MIB]), MIB],
  [
    'changed in the first and the last chunk',
    (file: string) => changeBytes(file, [0, 22 * MIB - 1]),
    2 * MIB,
  ],
  ['cut off', (file: string) => truncate(file, 13 * MIB - 1), 10 * MIB],
  // All that it has to hold is still there.
  ['grown', (file: string) => writeFile(file, 'more', { flag: 'a' }), 0],
])('of a file that was %s only the other chunks are fetched', async (_how, change, bytesFetched) => {
  await using there = await restored({ big: { kind: 'file', content: pattern(22 * MIB) } });
  const { to, store, tree } = there;
  await change(join(to.path, 'big'));
  expect(await restoreJob(store, to.path)).toMatchObject({ filesKept: 0, bytesFetched });
  expect(await readTree(to.path)).toEqual(tree);
});

test('neighbouring chunks that are missing are fetched by one request', async () => {
  await using there = await restored({ big: { kind: 'file', content: pattern(32 * MIB) } });
  const { to, store, tree, made } = there;
  await rm(join(to.path, 'big'));
  expect(await restoreJob(store, to.path)).toMatchObject({ bytesFetched: 32 * MIB });
  expect(store.calls.filter(({ name }) => made.packsOf('big').includes(name)).length).toBe(4);
  expect(await readTree(to.path)).toEqual(tree);
});

test('hard links come back as one file with several names, and again when one was replaced', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, {
    'a/first': { kind: 'file', content: pattern(5 * MIB) },
    'b/other': { kind: 'file', content: 'alone' },
  });
  await link(join(from.path, 'a/first'), join(from.path, 'b/second'));
  await link(join(from.path, 'a/first'), join(from.path, 'third'));
  const blobs = createMemoryBlobs();
  await makeCheckpoint(blobs, from.path);
  const store = blobs.connect();
  expect(await restoreJob(store, to.path)).toMatchObject({ files: 2, bytesFetched: 5 * MIB + 5 });
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
  const inodes = () =>
    Promise.all(['a/first', 'b/second', 'third'].map(async (path) => (await lstat(join(to.path, path))).ino));
  const before = await inodes();
  expect(new Set(before).size).toBe(1);
  expect(await restoreJob(store, to.path)).toMatchObject({ filesKept: 2, bytesFetched: 0 });
  expect(await inodes()).toEqual(before);
  await rm(join(to.path, 'third'));
  await writeFile(join(to.path, 'third'), pattern(5 * MIB));
  await restoreJob(store, to.path);
  expect(await inodes()).toEqual(before);
  // One that is asked for without the others is a file of its own, with two names where both are.
  await using part = await testFolder();
  expect(await restoreJob(store, part.path, { path: ['second', 'third'] })).toMatchObject({ files: 1 });
  const [second, third] = await Promise.all(
    ['b/second', 'third'].map((path) => lstat(join(part.path, path))),
  );
  expect(second?.ino).toBe(third?.ino);
  expect(await readFile(join(part.path, 'third'))).toEqual(pattern(5 * MIB));
});

test('a file that shares its content with a name outside the checkpoint is not kept, so that neither changes the other', async () => {
  await using there = await restored({ a: { kind: 'file', content: 'content' } });
  await using outside = await testFolder();
  const { to, store } = there;
  await link(join(to.path, 'a'), join(outside.path, 'backup'));
  // It needn't be fetched either.
  expect(await restoreJob(store, to.path)).toMatchObject({ filesKept: 0, bytesFetched: 0 });
  expect((await lstat(join(to.path, 'a'))).ino).not.toBe((await lstat(join(outside.path, 'backup'))).ino);
  expect(await readFile(join(to.path, 'a'), 'utf8')).toBe('content');
});

test('zeros take the place of what a file on disk has there, and holes stay holes', async () => {
  await using there = await saved({
    a: { kind: 'file', content: Buffer.concat([pattern(MIB), Buffer.alloc(11 * MIB)]) },
  });
  await using to = await testFolder();
  await writeFile(
    join(to.path, 'a'),
    Buffer.concat([pattern(MIB), Buffer.alloc(5 * MIB), Buffer.alloc(6 * MIB, 'x')]),
  );
  const store = there.blobs.connect();
  expect(await restoreJob(store, to.path)).toMatchObject({ filesKept: 0, bytesFetched: 0 });
  expect(await readTree(to.path)).toEqual(await readTree(there.from.path));
  expect((await stat(join(to.path, 'a'))).blocks * 512).toBeLessThanOrEqual(2 * MIB);
  expect(await restoreJob(store, to.path)).toMatchObject({ filesKept: 1 });
});

test('a sparse file of 2 TiB costs what is in it, also when it is there already', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  const size = 2 * 1024 ** 4;
  await writeFile(join(from.path, 'disk'), 'boot');
  const blobs = createMemoryBlobs();
  await makeCheckpoint(blobs, from.path, {
    change: (entries) =>
      entries.map((entry) =>
        entry.type === 'file' ? { ...entry, size, chunks: [...entry.chunks, { plain: size - 4 }] } : entry,
      ),
  });
  const store = blobs.connect();
  expect(await restoreJob(store, to.path)).toMatchObject({ bytes: size, bytesFetched: 4 });
  expect((await stat(join(to.path, 'disk'))).size).toBe(size);
  expect(await restoreJob(store, to.path)).toMatchObject({ filesKept: 1, bytesFetched: 0 });
  expect(countCalls(store, 'create', '/holds/')).toBe(2);
});

async function changeBytes(file: string, places: readonly number[]): Promise<void> {
  await using handle = await open(file, 'r+');
  for (const at of places) await handle.write(Buffer.from([0xee]), 0, 1, at);
}
