import { copyFile, mkdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';

import fc from 'fast-check';
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
  expect(await index.forgetPacks((name) => name === 'p-2')).toBe(1);
  expect(await index.forgetPacks((name) => name === 'p-2')).toBe(0);
  expect([...index.files].map(([path, one]) => [path, isWhole(one)])).toEqual([
    ['a', false],
    ['b', true],
    ['holes', true],
  ]);
  expect([...index.pieces.keys()]).toEqual(['tree 0 b']);
  await index.save();
  expect(isWhole((await openIndex(place)).index.files.get('a') ?? record())).toBe(false);
});

/** Some of each kind of line, with what is known after each. */
async function wholeLife(file: string) {
  const { index } = await openIndex(placeOf(file));
  const states: ReturnType<typeof contentOf>[] = [];
  const steps: (() => Promise<void> | void)[] = [
    () => index.set('a', record()),
    () => index.notePack('p-1', 2000),
    () => index.setPart('big', { size: 3000, dev: 7n }, 0, [chunk('p-1', 1000, ID, 7)]),
    () => index.setPart('big', { size: 3000, dev: 7n }, 1000, [chunk('p-2', 2000)]),
    () => index.noteTry(point('00000002', '2')),
    () =>
      index.rebase(point('00000002', '2'), new Map([['tree 0 a', chunk('m-1', 10)]]), {
        file: (path) => path === 'a',
        pack: (pack) => pack === 'p-1',
      }),
    () => index.set('ü\udcff', record({ isVersion: false })),
    () => index.notePack('p-3', 4000),
    () => index.noteTry(point('00000003', '3')),
  ];
  for (const step of steps) {
    await step();
    await index.save();
    states.push(contentOf(index));
  }
  await index.close();
  return { epoch: index.epoch, states };
}

test('a process that dies at any byte of what it appends leaves what was whole, and the next one goes on from that', async () => {
  await using folder = await testFolder();
  const file = `${folder.path}/index`;
  const { epoch, states } = await wholeLife(file);
  const whole = await readFile(file);
  const copy = `${folder.path}/copy`;
  let last: ReturnType<typeof contentOf> | undefined;
  for (let bytes = 0; bytes <= whole.length; bytes++) {
    await copyFile(file, copy);
    await truncate(copy, bytes);
    const { index, problems } = await openIndex(placeOf(copy));
    expect(problems).toEqual([]);
    const isWholeLine = bytes > 0 && whole[bytes - 1] === 0x0a;
    if (index.epoch !== epoch) {
      // Not even the first line is there: another life.
      expect(last).toBeUndefined();
      expect(index.files.size).toBe(0);
      continue;
    }
    if (!isWholeLine && last !== undefined) expect(contentOf(index)).toEqual(last);
    last = contentOf(index);
    if (!isWholeLine && bytes % 7 !== 0) continue;
    // Half a line is cut off before anything else is appended.
    index.set('later', record());
    await index.save();
    await index.close();
    const { index: next, problems: later } = await openIndex(placeOf(copy));
    expect(later).toEqual([]);
    expect(contentOf(next)).toEqual(contentOf(index));
  }
  expect(last).toEqual(states.at(-1));
}, 30_000);

const HOSTILE: readonly (readonly [string, string])[] = [
  ['no JSON', '{"file":'],
  ['null', 'null'],
  ['a list', '[]'],
  ['of no kind', '{"what":1}'],
  [
    'a file without a name',
    JSON.stringify({ file: '', stat: [1, '1', '1', '1', '1'], at: [1, 1], packs: [], chunks: [] }),
  ],
  [
    'a size below 0',
    JSON.stringify({ file: 'a', stat: [-1, '1', '1', '1', '1'], at: [1, 1], packs: [], chunks: [] }),
  ],
  [
    'a time that is no number',
    JSON.stringify({ file: 'a', stat: [1, 'x', '1', '1', '1'], at: [1, 1], packs: [], chunks: [] }),
  ],
  [
    'a chunk of no pack',
    JSON.stringify({
      file: 'a',
      stat: [1, '1', '1', '1', '1'],
      at: [1, 1],
      packs: [],
      chunks: [[0, 0, 1, 1, 'x']],
    }),
  ],
  [
    'half a byte',
    JSON.stringify({ file: 'a', stat: [0.5, '1', '1', '1', '1'], at: [1, 1], packs: [], chunks: [] }),
  ],
  ['more than a number can say', JSON.stringify({ pack: 'p', bytes: 2 ** 60 })],
  ['a pack that has a long name', JSON.stringify({ pack: 'p'.repeat(100), bytes: 1 })],
  ['a piece in two packs', JSON.stringify({ piece: 'x', packs: ['a', 'b'], chunks: [] })],
  ['bytes that are no text', '\0\u0001'],
];

test.each(HOSTILE)('a line that is %s is told, and the whole index is begun anew', async (_, line) => {
  await using folder = await testFolder();
  const place = placeOf(`${folder.path}/index`);
  const { index } = await openIndex(place);
  index.set('a', record());
  await index.save();
  await index.close();
  await writeFile(place.file ?? '', `${await readFile(place.file ?? '', 'utf8')}${line}\n`);
  const { index: next, problems } = await openIndex(place);
  expect(problems).toEqual(['index-unusable']);
  expect(next.files.size).toBe(0);
  expect(next.epoch).not.toBe(index.epoch);
  next.set('b', record());
  await next.save();
  await next.close();
  const { index: last, problems: none } = await openIndex(place);
  expect(none).toEqual([]);
  expect([...last.files.keys()]).toEqual(['b']);
});

test('whatever bytes stand in its place, it opens', async () => {
  await using folder = await testFolder();
  const place = placeOf(`${folder.path}/index`);
  const { index } = await openIndex(place);
  index.set('a', record());
  await index.noteTry(point('00000001', '1'));
  await index.close();
  const whole = await readFile(place.file ?? '');
  const mutation = fc.array(fc.tuple(fc.nat({ max: whole.length - 1 }), fc.nat({ max: 255 })), {
    minLength: 1,
    maxLength: 4,
  });
  await fc.assert(
    fc.asyncProperty(mutation, async (changes) => {
      const bytes = Buffer.from(whole);
      for (const [at, byte] of changes) bytes[at] = byte;
      await writeFile(place.file ?? '', bytes);
      const { index: found } = await openIndex(place);
      for (const one of found.files.values()) isWhole(one);
      found.set('b', record());
      await found.save();
      await found.close();
      expect((await openIndex(place)).problems).toEqual([]);
    }),
    { numRuns: 150 },
  );
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
