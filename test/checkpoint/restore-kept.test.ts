import { chmod, link, lstat, readFile, rename, rm, truncate, utimes, writeFile } from 'node:fs/promises';

import { expect, test } from 'vitest';

import { committed, restoreJob, testCheckpointer } from '../support/checkpoints.ts';
import { changeFile, pattern, readTree, testFolder, writeTree } from '../support/file-tree.ts';
import { countCalls, createMemoryService, type MemoryClient } from '../support/memory-store.ts';

const MIB = 1024 ** 2;
/** What a restore has to ask for before it knows anything: the list of checkpoints, and the manifest. */
const CALLS_AT_LEAST = 2;

/** A checkpoint of a tree, restored into a folder of its own. */
async function restored(tree: Parameters<typeof writeTree>[1]) {
  await using from = await testFolder();
  await writeTree(from.path, tree);
  const service = createMemoryService();
  await committed(testCheckpointer(service.connect(), from.path));
  const to = await testFolder();
  await restoreJob(service.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
  return {
    tree: await readTree(from.path),
    to,
    store: service.connect(),
    [Symbol.asyncDispose]: () => to[Symbol.asyncDispose](),
  };
}

function contentReads(store: MemoryClient): number {
  return countCalls(store, 'download', '/files/');
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
  const stats = () =>
    Promise.all(
      ['big', 'folder', 'folder/small', 'empty', 'link', 'folder/below'].map((path) =>
        lstat(`${to.path}/${path}`, { bigint: true }),
      ),
    );
  const facts = async () => (await stats()).map(({ ino, ctimeNs, mtimeNs }) => ({ ino, ctimeNs, mtimeNs }));
  const before = await facts();
  expect(await restoreJob(store, to.path)).toMatchObject({ files: 3, filesKept: 3, bytesFetched: 0 });
  expect(await facts()).toEqual(before);
  expect(store.calls.length).toBe(CALLS_AT_LEAST);
});

test('a file with the right content and another time and mode is kept and gets them back', async () => {
  await using there = await restored({
    a: { kind: 'file', content: 'a', mode: 0o604, mtimeS: 1_700_000_000 },
  });
  const { to, store, tree } = there;
  await utimes(`${to.path}/a`, 1, 1);
  await chmod(`${to.path}/a`, 0o600);
  expect(await restoreJob(store, to.path)).toMatchObject({ filesKept: 1, bytesFetched: 0 });
  expect(await readTree(to.path)).toEqual(tree);
});

test.each([
  ['changed in one place', (file: string) => changeByte(file, 9 * MIB), 4 * MIB],
  ['changed in the first and the last block', (file: string) => changeEnds(file), 6 * MIB],
  ['cut off', (file: string) => truncate(file, 13 * MIB), 10 * MIB],
  // All that it has to hold is still there.
  ['grown', (file: string) => writeFile(file, 'more', { flag: 'a' }), 0],
])('of a file that was %s only the other blocks are fetched', async (_how, change, bytesFetched) => {
  await using there = await restored({ big: { kind: 'file', content: pattern(22 * MIB) } });
  const { to, store, tree } = there;
  await change(`${to.path}/big`);
  expect(await restoreJob(store, to.path)).toMatchObject({ filesKept: 0, bytesFetched });
  expect(await readTree(to.path)).toEqual(tree);
});

test('neighbouring blocks that are missing are fetched by one request', async () => {
  await using there = await restored({ big: { kind: 'file', content: pattern(32 * MIB) } });
  const { to, store, tree } = there;
  await rm(`${to.path}/big`);
  expect(await restoreJob(store, to.path)).toMatchObject({ bytesFetched: 32 * MIB });
  expect(contentReads(store)).toBe(4);
  expect(await readTree(to.path)).toEqual(tree);
});

test('hard links come back as one file with several names, whose content was stored and fetched once', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, {
    'a/first': { kind: 'file', content: pattern(5 * MIB) },
    'b/other': { kind: 'file', content: 'alone' },
  });
  await link(`${from.path}/a/first`, `${from.path}/b/second`);
  await link(`${from.path}/a/first`, `${from.path}/third`);
  const service = createMemoryService();
  expect(await committed(testCheckpointer(service.connect(), from.path))).toMatchObject({
    files: 2,
    bytesSent: 5 * MIB + 5,
  });
  const store = service.connect();
  expect(await restoreJob(store, to.path)).toMatchObject({ files: 2, bytesFetched: 5 * MIB + 5 });
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
  const inodes = async () =>
    Promise.all(
      ['a/first', 'b/second', 'third'].map(async (path) => (await lstat(`${to.path}/${path}`)).ino),
    );
  expect(new Set(await inodes()).size).toBe(1);
  const before = await inodes();
  expect(await restoreJob(store, to.path)).toMatchObject({ filesKept: 2, bytesFetched: 0 });
  expect(await inodes()).toEqual(before);
});

test('a hard link that was replaced meanwhile is one again', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, { a: { kind: 'file', content: 'same' } });
  await link(`${from.path}/a`, `${from.path}/b`);
  const service = createMemoryService();
  await committed(testCheckpointer(service.connect(), from.path));
  await restoreJob(service.connect(), to.path);
  await rm(`${to.path}/b`);
  await writeFile(`${to.path}/b`, 'same');
  await restoreJob(service.connect(), to.path);
  expect((await lstat(`${to.path}/b`)).ino).toBe((await lstat(`${to.path}/a`)).ino);
});

test('a file that shares its content with a name outside the checkpoint is not kept, so that neither changes the other', async () => {
  await using there = await restored({ a: { kind: 'file', content: 'content' } });
  await using outside = await testFolder();
  const { to, store } = there;
  await link(`${to.path}/a`, `${outside.path}/backup`);
  await restoreJob(store, to.path);
  expect((await lstat(`${to.path}/a`)).ino).not.toBe((await lstat(`${outside.path}/backup`)).ino);
  expect(await readFile(`${to.path}/a`, 'utf8')).toBe('content');
});

test('a hard link is followed through checkpoints: made, changed through either name, taken apart', async () => {
  await using from = await testFolder();
  const service = createMemoryService();
  const checkpointer = testCheckpointer(service.connect(), from.path);
  await writeTree(from.path, { a: { kind: 'file', content: '1' } });
  const states: [string, object][] = [];
  const remember = async () => {
    const { id } = await committed(checkpointer);
    states.push([id, await readTree(from.path)]);
  };
  await remember();
  await link(`${from.path}/a`, `${from.path}/b`);
  await remember();
  await changeFile(`${from.path}/b`, '22');
  await remember();
  await writeFile(`${from.path}/new`, '333');
  await rename(`${from.path}/new`, `${from.path}/a`);
  await remember();
  for (const [id, tree] of states) {
    await using to = await testFolder();
    await restoreJob(service.connect(), to.path, id);
    expect(await readTree(to.path)).toEqual(tree);
  }
});

async function changeByte(file: string, at: number): Promise<void> {
  const content = await readFile(file);
  content[at] = (content[at] ?? 0) ^ 0xff;
  await changeFile(file, content);
}

async function changeEnds(file: string): Promise<void> {
  await changeByte(file, 0);
  await changeByte(file, 21 * MIB);
}
