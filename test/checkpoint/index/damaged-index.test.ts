import { copyFile, readFile, truncate, writeFile } from 'node:fs/promises';

import fc from 'fast-check';
import { expect, test } from 'vitest';

import { isWhole } from '../../../src/checkpoint/index/record.ts';
import { testFolder } from '../../support/file-tree.ts';
import { ID, chunk, contentOf, openIndex, placeOf, record } from './index-rig.ts';

const point = (id: string, digit: string) => ({ id, sha256: digit.repeat(64) });

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
    if (!isWholeLine && bytes % 29 !== 0) continue;
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
    { numRuns: 60 },
  );
});
