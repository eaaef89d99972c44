import { readFile, truncate, writeFile } from 'node:fs/promises';

import { expect, test } from 'vitest';

import { newHashKey } from '../../src/checkpoint/block-id.ts';
import { openFileIndex, type IndexEntry } from '../../src/checkpoint/file-index.ts';
import { testFolder } from '../support/file-tree.ts';

const BLOCK = `${'A'.repeat(22)}==`;
const SECOND_NS = 1_000_000_000n;

function entry(changes: Partial<IndexEntry['stat']> = {}, readAtMs = 2_000_000): IndexEntry {
  const stat = {
    size: 5,
    mtimeNs: 1000n * SECOND_NS,
    ctimeNs: 1000n * SECOND_NS,
    ino: 2n ** 63n,
    dev: 1n,
    ...changes,
  };
  return { stat, readAtMs, blockSize: 4096, blocks: [BLOCK] };
}

async function open(file: string, root = '/set', bootId = 'boot') {
  const problems: string[] = [];
  const index = await openFileIndex({ file, root, bootId }, (error) => problems.push(error.code));
  return { index, problems };
}

test('an entry counts only while size, times, inode and device are the same', async () => {
  const { index } = await open('/nowhere/index');
  const one = entry();
  index.set('a', one);
  expect(index.unchanged('a', one.stat)).toEqual(one);
  expect(index.unchanged('b', one.stat)).toBeUndefined();
  for (const change of [{ size: 6 }, { mtimeNs: 1n }, { ctimeNs: 1n }, { ino: 1n }, { dev: 2n }]) {
    expect(index.unchanged('a', { ...one.stat, ...change })).toBeUndefined();
  }
});

test('a file that was written within a minute before it was read, or later, is not trusted', async () => {
  const { index } = await open('/nowhere/index');
  for (const [readAtMs, trusted] of [
    [1_059_999, false],
    [1_060_000, true],
    [999_000, false],
  ] as const) {
    const one = entry({}, readAtMs);
    index.set('a', one);
    expect(index.unchanged('a', one.stat) !== undefined).toBe(trusted);
    // For an estimate it is good enough.
    expect(index.likely('a', one.stat)).toEqual(one);
  }
});

test('a file on a device that does not stamp all writes is not trusted, however old it is', async () => {
  const { index } = await open('/nowhere/index');
  const one = entry();
  index.set('a', one);
  index.distrust(new Set([1n]));
  expect(index.unchanged('a', one.stat)).toBeUndefined();
  index.distrust(new Set([2n]));
  expect(index.unchanged('a', one.stat)).toEqual(one);
});

test('what another boot has read is good for comparing, and for nothing more', async () => {
  await using folder = await testFolder();
  const file = `${folder.path}/index`;
  const { index } = await open(file);
  const one = entry();
  index.set('a', one);
  await index.save();
  const later = await open(file, '/set', 'later boot');
  for (const { index: found } of [later, await open(file, '/set', 'later boot')]) {
    expect(found.unchanged('a', one.stat)).toBeUndefined();
    expect(found.likely('a', one.stat)).toBeDefined();
    expect(found.last('a')).toMatchObject({ blocks: one.blocks });
    expect(found.hashKey).toBe(index.hashKey);
    // Kept as it is, it says no more the next time.
    later.index.set('b', entry());
    await later.index.save();
  }
});

test('entries made with another key are forgotten, in its file too', async () => {
  await using folder = await testFolder();
  const file = `${folder.path}/index`;
  const { index } = await open(file);
  index.set('a', entry());
  index.useKey(index.hashKey);
  expect(index.size).toBe(1);
  await index.save();
  const key = newHashKey();
  index.useKey(key);
  expect(index.size).toBe(0);
  // Still a sign that a disk is missing.
  expect(index.isOfOthers(new Set([2n]))).toBe(true);
  expect(index.isOfOthers(new Set([1n]))).toBe(false);
  await index.save();
  expect((await open(file)).index).toMatchObject({ size: 0, hashKey: key });
});

test('what is written while the key changes is of one key', async () => {
  await using folder = await testFolder();
  const file = `${folder.path}/index`;
  const { index } = await open(file);
  const { hashKey } = index;
  index.set('a', entry());
  const saving = index.save();
  index.useKey(newHashKey());
  index.set('b', entry());
  await saving;
  const { index: found } = await open(file);
  expect(found.hashKey).toBe(hashKey);
  expect(found.last('a')).toBeDefined();
  expect(found.last('b')).toBeUndefined();
  await index.save();
  const { index: later } = await open(file);
  expect(later.hashKey).toBe(index.hashKey);
  expect(later.last('a')).toBeUndefined();
});

test('it comes back from its file as it was, odd names included', async () => {
  await using folder = await testFolder();
  const file = `${folder.path}/deep/index`;
  const { index } = await open(file);
  const paths = ['a', 'line\nbreak', 'bytes\udcff', '__proto__'];
  for (const path of paths) index.set(path, entry());
  index.set('gone', entry());
  await index.keepOnly(new Set(paths));
  await index.save();
  const again = await open(file);
  expect(again.problems).toEqual([]);
  for (const path of paths) expect(again.index.unchanged(path, entry().stat)).toEqual(entry());
  expect(again.index.last('gone')).toBeUndefined();
  // Another folder's index says nothing about this one.
  const other = await open(file, '/other');
  expect(other.index.last('a')).toBeUndefined();
});

test.each([
  ['cut off', async (file: string) => truncate(file, 150)],
  [
    'without its last line',
    async (file: string) => {
      const lines = (await readFile(file, 'utf8')).split('\n');
      await writeFile(file, `${lines.slice(0, -2).join('\n')}\n`);
    },
  ],
  ['of another version', async (file: string) => writeFile(file, '{"version":9}\n')],
  ['empty', async (file: string) => writeFile(file, '')],
  ['binary', async (file: string) => writeFile(file, Buffer.alloc(1000, 0xff))],
])('a file that is %s is reported and not used', async (_what, damage) => {
  await using folder = await testFolder();
  const file = `${folder.path}/index`;
  const { index } = await open(file);
  index.set('a', entry());
  index.set('b', entry());
  await index.save();
  await damage(file);
  const again = await open(file);
  expect(again.problems).toEqual(['index-unusable']);
  expect(again.index.last('a')).toBeUndefined();
});
