import { mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';

import { describe, expect, test } from 'vitest';

import { LOST_ID, isWhole } from '../../../src/checkpoint/index/record.ts';
import { indexFileName } from '../../../src/checkpoint/index/local-index.ts';
import { testFolder } from '../../support/file-tree.ts';
import { mayMount, smallDisk } from '../../support/small-disk.ts';
import { ID, chunk, contentOf, openIndex, placeOf, record } from './index-rig.ts';

const ALL = { file: () => true, pack: () => true };
const point = (id: string, digit: string) => ({ id, sha256: digit.repeat(64) });

test('it comes back from its file as it was, odd names and times included', async () => {
  await using folder = await testFolder();
  const place = placeOf(`${folder.path}/deep/index`);
  const { index } = await openIndex(place);
  for (const path of ['a', 'line\nbreak', 'bytes\udcff', '__proto__', 'constructor/x'])
    index.set(path, record());
  index.set('never seen', record({ seenAt: Infinity, readAt: -Infinity, chunks: [] }));
  index.setPart('part', { size: 3000, dev: 9n }, 1000, [chunk('p-2', 1000, ID, 50)]);
  index.notePack('p-1', 2000);
  await index.noteTry(point('00000001', '1'));
  await index.noteTry(point('00000001', '2'));
  await index.save();
  const again = await openIndex(place);
  expect(again.problems).toEqual([]);
  expect(contentOf(again.index)).toEqual(contentOf(index));
  expect(again.index.files.get('part')?.stat).toMatchObject({ size: 3000, dev: 9n });
  expect((await stat(place.file ?? '')).mode & 0o777).toBe(0o600);
  await index.close();
});

test('a part of what a file holds is to be compared with, and is no version of it', async () => {
  const { index } = await openIndex(placeOf(undefined));
  index.set('a', record({ chunks: [chunk('p-1', 1000), chunk('p-1', 1000), chunk('p-1', 1000)] }));
  index.setPart('a', { size: 3000, dev: 7n }, 1000, [chunk('p-2', 1000)]);
  const found = index.files.get('a');
  expect(found).toMatchObject({ isVersion: false, stat: { size: 3000, dev: 7n } });
  expect(found?.chunks).toEqual([chunk('p-1', 1000), chunk('p-2', 1000), chunk('p-1', 1000)]);
});

describe.each([
  ['another boot', { bootId: 'other' }],
  ['another folder', { root: '/other' }],
  ['another container or set', { store: 'a store p/k/sets/other/' }],
])('of %s', (_, changes) => {
  test('nothing counts, not even its key: it is another life', async () => {
    await using folder = await testFolder();
    const file = `${folder.path}/index`;
    const { index } = await openIndex(placeOf(file));
    index.set('a', record());
    await index.save();
    const { index: other, problems } = await openIndex(placeOf(file, changes));
    expect(problems).toEqual([]);
    expect(other.files.size).toBe(0);
    expect(other.epoch).not.toBe(index.epoch);
    expect(other.hash.key).not.toBe(index.hash.key);
    await other.save();
    // The first one can't go on with it either.
    expect((await openIndex(placeOf(file))).index.epoch).not.toBe(index.epoch);
  });
});

test('another entry as the newest leaves what it keeps, its pieces and nothing of the tries before', async () => {
  await using folder = await testFolder();
  const place = placeOf(`${folder.path}/index`);
  const { index } = await openIndex(place);
  index.set('stays', record({ chunks: [chunk('p-1', 600), { plain: 400 }] }));
  index.set('mixed', record({ chunks: [chunk('p-1', 500), chunk('p-2', 500)] }));
  index.set('goes', record());
  index.notePack('p-1', 2000);
  index.notePack('p-2', 2000);
  await index.noteTry(point('00000002', '2'));
  await index.rebase(
    point('00000001', '0'),
    new Map([
      ['tree 0 a', chunk('m-1', 10)],
      ['tree 0 b', chunk('m-1', 20)],
    ]),
    ALL,
  );
  expect(index.packs.size).toBe(2);
  const kept = { file: (path: string) => path !== 'goes', pack: (pack: string) => pack === 'p-1' };
  await index.rebase(point('00000002', '2'), new Map([['tree 0 b', chunk('m-2', 20)]]), kept);
  expect([...index.files.keys()]).toEqual(['stays', 'mixed']);
  expect(index.files.get('stays')).toMatchObject({ isVersion: true });
  expect(index.files.get('mixed')?.chunks).toMatchObject([{ id: ID }, { id: LOST_ID }]);
  expect([...index.packs]).toEqual([['p-1', 2000]]);
  expect(index.tries('00000002').size).toBe(0);
  await index.save();
  expect(contentOf((await openIndex(place)).index)).toEqual(contentOf(index));
});

test('packs that are gone take their chunks and pieces with them, and are told by the file', async () => {
  await using folder = await testFolder();
  const place = placeOf(`${folder.path}/index`);
  const { index } = await openIndex(place);
  index.set('a', record({ chunks: [chunk('p-1', 500), chunk('p-2', 500)] }));
  index.set('b', record({ chunks: [chunk('p-2', 1000)] }));
  index.set('holes', record({ chunks: [{ plain: 1000 }] }));
  index.setPieces(
    new Map([
      ['tree 0 a', chunk('p-1', 10)],
      ['tree 0 b', chunk('p-2', 10)],
    ]),
  );
  expect(await index.forgetGone(({ pack }) => pack === 'p-2')).toBe(1);
  expect(await index.forgetGone(({ pack }) => pack === 'p-2')).toBe(0);
  expect([...index.files].map(([path, one]) => [path, isWhole(one)])).toEqual([
    ['a', false],
    ['b', true],
    ['holes', true],
  ]);
  expect([...index.pieces.keys()]).toEqual(['tree 0 b']);
  await index.save();
  expect(isWhole((await openIndex(place)).index.files.get('a') ?? record())).toBe(false);
});

test('lines of what is no more are left out once there are many of them', async () => {
  await using folder = await testFolder();
  const place = placeOf(`${folder.path}/index`);
  const { index } = await openIndex(place);
  for (let round = 0; round < 60; round++) {
    for (let file = 0; file < 100; file++) index.set(`f${file}`, record({ readAt: round }));
    await index.save();
  }
  expect((await readFile(place.file ?? '', 'utf8')).split('\n').length).toBeLessThan(1500);
  expect(contentOf((await openIndex(place)).index)).toEqual(contentOf(index));
  await index.close();
});

test('without a file it works as well, and closes', async () => {
  const { index } = await openIndex(placeOf(undefined));
  index.set('a', record());
  await index.noteTry(point('00000001', '1'));
  await index.rebase(point('00000001', '1'), new Map(), ALL);
  await index.noteTry(point('00000002', '2'));
  await index.save();
  await index.close();
  expect(index.tries('00000002').size).toBe(1);
});

test('another life begins with what was found, under another epoch, whatever was still to be written', async () => {
  await using folder = await testFolder();
  const place = placeOf(`${folder.path}/index`);
  const { index } = await openIndex(place);
  index.set('old', record());
  const { epoch } = index;
  index.restart(
    point('00000009', '9'),
    { hash: { name: 'sha256-128', key: 'k' }, cut: { chunkBytes: 10, packBytes: 100 } },
    new Map([['new', record()]]),
  );
  index.set('newer', record());
  await index.save();
  const { index: found } = await openIndex(place);
  expect(found.epoch).not.toBe(epoch);
  expect(contentOf(found)).toEqual(contentOf(index));
  expect([...found.files.keys()]).toEqual(['new', 'newer']);
  expect(found.base?.id).toBe('00000009');
  await index.close();
});

test('a file that can not be written is told once, and written once that is possible', async () => {
  await using folder = await testFolder();
  const place = placeOf(`${folder.path}/index`);
  await mkdir(`${folder.path}/index.new`);
  const { index, problems } = await openIndex(place);
  index.set('a', record());
  await expect(index.save()).rejects.toMatchObject({ code: 'index-unwritten' });
  index.set('b', record());
  await expect(index.noteTry(point('00000001', '1'))).rejects.toMatchObject({ code: 'index-unwritten' });
  expect(problems).toEqual(['index-unwritten']);
  await rm(`${folder.path}/index.new`, { recursive: true });
  await index.save();
  expect(contentOf((await openIndex(place)).index)).toEqual(contentOf(index));
  await index.close();
});

test.skipIf(!mayMount)(
  'a disk that is full costs the file, and no more; with room again all of it is there',
  async () => {
    await using disk = await smallDisk(256 * 1024);
    const place = placeOf(`${disk.path}/index`);
    const { index, problems } = await openIndex(place);
    index.set('a', record());
    await index.save();
    await writeFile(`${disk.path}/others`, Buffer.alloc(250 * 1024)).catch(() => undefined);
    for (let file = 0; file < 1000; file++) index.set(`f${file}`, record());
    await expect(index.noteTry(point('00000001', '1'))).rejects.toMatchObject({ code: 'index-unwritten' });
    expect(problems.length).toBeLessThanOrEqual(1);
    // What a process finds that is started then is whole, though not all of it.
    const { index: meanwhile, problems: others } = await openIndex(place);
    expect(others).toEqual([]);
    expect(meanwhile.files.get('a')).toEqual(record());
    await rm(`${disk.path}/others`);
    for (let file = 100; file < 1000; file++) index.set(`f${file}`, record());
    await index.rebase(point('00000001', '1'), new Map(), {
      file: (path) => path.length <= 3,
      pack: () => true,
    });
    await index.save();
    expect(contentOf((await openIndex(place)).index)).toEqual(contentOf(index));
    await index.close();
  },
);

test('sets have files of their own, whatever they are called', () => {
  expect(indexFileName('/state', 'a/../b')).toBe('/state/a%2F..%2Fb.index.jsonl');
});
