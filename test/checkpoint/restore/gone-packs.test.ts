import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { changeFile, readTree, testFolder, writeTree } from '../../support/file-tree.ts';
import { makeCheckpoint, PREFIX } from '../../support/make-checkpoint.ts';
import type { MemoryBlobs } from '../../support/memory-blobs.ts';
import { countCalls, storeError } from '../../support/memory-blobs.ts';
import { notes, restoreJob, saved } from './rig.ts';

/** Two checkpoints; what is new in the second is in packs of its own. */
async function twoCheckpoints() {
  const there = await saved({ a: { kind: 'file', content: '1' }, b: { kind: 'file', content: '1' } });
  const older = await readTree(there.from.path);
  await changeFile(join(there.from.path, 'a'), '22');
  const second = await makeCheckpoint(there.blobs, there.from.path, { after: there.made });
  const [pack = ''] = second.packsOf('a');
  return { ...there, older, second, pack, [Symbol.asyncDispose]: () => there[Symbol.asyncDispose]() };
}

const damages: [string, string, (blobs: MemoryBlobs, pack: string) => void][] = [
  ['removed', 'not in the store any more', (blobs, pack) => blobs.remove(pack)],
  ['archived', 'in the archive tier', (blobs, pack) => blobs.archive(pack)],
  ['cut off', 'bytes instead of', (blobs, pack) => blobs.corrupt(pack, (content) => content.subarray(0, 1))],
];

test.each(damages)(
  'where a pack was %s the next older checkpoint is taken, and that is said',
  async (_how, why, damage) => {
    await using there = await twoCheckpoints();
    const { blobs, pack, older } = there;
    damage(blobs, pack);
    await using to = await testFolder();
    const said: string[] = [];
    const result = await restoreJob(
      blobs.connect(),
      to.path,
      {},
      { onNote: ({ code, message }) => void said.push(`${code} ${message}`) },
    );
    expect(result).toMatchObject({ id: '00000001' });
    expect(said).toEqual([
      expect.stringMatching(new RegExp(`^older-checkpoint .*00000002 .*"a" .*${why}.* 00000001`)),
    ]);
    expect(await readTree(to.path)).toEqual(older);
  },
);

test('a checkpoint that was asked for is not replaced by another; nothing is touched, and what needs no such pack can be had', async () => {
  await using there = await twoCheckpoints();
  const { blobs, pack } = there;
  blobs.remove(pack);
  await using folder = await testFolder();
  const to = join(folder.path, 'new');
  const at = '00000002';
  await expect(restoreJob(blobs.connect(), to, { at })).rejects.toMatchObject({
    code: 'checkpoint-gone',
    message: expect.stringContaining('"a"'),
  });
  expect(await readdir(folder.path)).toEqual([]);
  const { codes, onNote } = notes();
  expect(await restoreJob(blobs.connect(), to, { path: ['b'] }, { onNote })).toMatchObject({
    id: at,
    files: 1,
  });
  expect(codes).toEqual([]);
});

test('without any whole checkpoint the newest says what is missing', async () => {
  await using there = await twoCheckpoints();
  const { blobs, made, second } = there;
  blobs.remove(there.pack);
  for (const pack of made.packsOf('a')) blobs.remove(pack);
  await using to = await testFolder();
  await expect(restoreJob(blobs.connect(), to.path)).rejects.toMatchObject({
    code: 'checkpoint-gone',
    message: expect.stringMatching(/00000002.*nor is any older/),
  });
  const [meta] = second.manifest.metadata;
  blobs.remove(`${PREFIX}packs/${meta?.name}`);
  await expect(restoreJob(blobs.connect(), to.path, { at: '00000002' })).rejects.toMatchObject({
    code: 'checkpoint-gone',
    message: expect.stringContaining('the list of its files'),
  });
});

test('a pack that goes while a restore runs is named with a file', async () => {
  await using there = await saved({ a: { kind: 'file', content: 'a' } });
  const packs = there.made.packsOf('a');
  await using to = await testFolder();
  const store = there.blobs.connect({
    before({ operation, name }) {
      if (operation === 'read' && packs.includes(name)) throw storeError('not-found', name);
    },
  });
  await expect(restoreJob(store, to.path)).rejects.toMatchObject({
    code: 'checkpoint-gone',
    message: expect.stringMatching(/packs\/.*"a"/),
  });
  expect(await readdir(to.path)).toEqual([]);
});

test('what a manifest needs is found by one listing, and its pieces by few reads', async () => {
  const tree = Object.fromEntries(
    Array.from({ length: 900 }, (_, i) => [`d${i % 9}/${i}`, { kind: 'file' as const, content: `${i}` }]),
  );
  await using there = await saved(tree);
  await using to = await testFolder();
  const store = there.blobs.connect();
  await restoreJob(store, to.path);
  expect(countCalls(store, 'list', '/packs/')).toBe(1);
  const [meta] = there.made.manifest.metadata;
  expect(countCalls(store, 'read', `/packs/${meta?.name}`)).toBe(1);
});

test('only what patterns name is restored, with the folders above it', async () => {
  await using there = await saved({
    'a/b/wanted.txt': { kind: 'file', content: '1' },
    'a/b/other': { kind: 'file', content: '2' },
    'a/empty': { kind: 'folder', mode: 0o711, mtimeS: 1_600_000_000 },
    'whole/x/y': { kind: 'file', content: '3' },
    'z/wanted.txt': { kind: 'link', target: '../whole' },
    zz: { kind: 'file', content: '4' },
  });
  await using to = await testFolder();
  await writeTree(to.path, { 'a/own': { kind: 'file', content: 'mine' } });
  const mark = { machine: 'm' };
  const path = ['wanted.txt', '/whole/', 'a/empty'];
  expect(await restoreJob(there.blobs.connect(), to.path, { path, mark })).toMatchObject({
    files: 2,
    bytes: 2,
  });
  const { a, z, 'a/own': own, 'a/b': ab, ...found } = await readTree(to.path);
  const { zz, ...all } = await readTree(there.from.path);
  expect([a, z, own, ab, zz].every((one) => one !== undefined)).toBe(true);
  expect(Object.keys(found).toSorted()).toEqual(
    ['a/b/wanted.txt', 'a/empty', 'whole', 'whole/x', 'whole/x/y', 'z/wanted.txt'].toSorted(),
  );
  for (const name of Object.keys(found)) expect(found[name]).toBe(all[name]);
  expect(ab).toBe(all['a/b']);
  expect(a).not.toBe(all['a']);
  await expect(restoreJob(there.blobs.connect(), to.path, { path: ['nothing'] })).rejects.toMatchObject({
    code: 'no-match',
  });
});
