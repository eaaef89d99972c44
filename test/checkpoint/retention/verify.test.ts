import { expect, test } from 'vitest';

import { verifySet } from '../../../src/checkpoint/retention/verify.ts';
import { type CheckStretch, checkChunks } from '../../../src/checkpoint/retention/verify-content.ts';
import { MADE_HASH, MADE_PLACE } from '../../support/made-store.ts';
import { PREFIX, createRig } from './prune-rig.ts';

const signal = new AbortController().signal;
const TEXT = 'a text that repeats itself, a text that repeats itself, a text that repeats itself. '.repeat(3);

/** 3,000 small files, some with content, one of many chunks, in folders. */
async function manyFiles() {
  const rig = createRig();
  const writer = rig.writer();
  await writer.takeOver();
  const files = Object.fromEntries(
    Array.from({ length: 3000 }, (_, index) => [
      `d${index % 7}/file-${index}`,
      index % 100 === 0 ? `${index}` : 1,
    ]),
  );
  await writer.commit(files);
  const manifest = await writer.commit(
    { ...files, 'd0/long': TEXT.repeat(2), 'd1/zip': TEXT, 'd1/none': '', e: 'e' },
    { chunkBytes: 7, compress: true },
  );
  const verify = (sample = 1, random = Math.random) =>
    verifySet({ place: MADE_PLACE, sample }, { store: rig.blobs.connect(), random }, signal);
  return { rig, writer, manifest, verify };
}

test('a checkpoint that is whole is found to be, the newest if none is named', async () => {
  const { verify } = await manyFiles();
  const chunks = 30 + Math.ceil((TEXT.length * 2) / 7) + Math.ceil(TEXT.length / 7) + 1;
  expect(await verify()).toMatchObject({
    set: 'job',
    id: '00000003',
    files: 3004,
    chunks,
    chunksRead: chunks,
    packs: { count: 0 },
    pieces: { count: 0 },
    damaged: { count: 0 },
    isWhole: true,
  });
});

test('of a sample only so much is read', async () => {
  const { verify } = await manyFiles();
  let turn = 0;
  const { chunks, chunksRead } = await verify(0.25, () => (turn++ % 4) / 4);
  expect(chunksRead).toBe(Math.ceil(chunks / 4));
  expect(await verify(0)).toMatchObject({ chunksRead: 0, bytesRead: 0, isWhole: true });
});

test('chunks that are near one another in a pack are one request, and no request is large', async () => {
  const MIB = 1024 ** 2;
  const chunk = (pack: string, offset: number, stored = MIB) => ({
    id: `${pack}@${offset}`,
    plain: stored,
    pack,
    offset,
    stored,
  });
  const chunks = [
    chunk('b', 0),
    ...Array.from({ length: 10 }, (_, index) => chunk('a', index * MIB)).toReversed(),
    chunk('b', MIB + 100_000),
    chunk('b', 4 * MIB, 10),
    // The same for another file.
    chunk('b', 4 * MIB, 10),
  ];
  const stretches: string[] = [];
  const check: CheckStretch = async ({ pack, offset, bytes, chunks: some }) => {
    stretches.push(`${pack} ${offset} ${bytes}`);
    return some.flatMap(({ id }, index) => (id === 'a@9437184' ? [index] : []));
  };
  const checked: { readonly chunk: number; readonly outcome: string }[] = [];
  await checkChunks(
    chunks.map((one, index) => ({ chunk: one, index })),
    { packPrefix: 'p/', hash: MADE_HASH, check },
    ({ index }, outcome) => void checked.push({ chunk: index, outcome }),
    signal,
  );
  expect(stretches.toSorted()).toEqual([
    `p/a 0 ${8 * MIB}`,
    `p/a ${8 * MIB} ${2 * MIB}`,
    `p/b 0 ${2 * MIB + 100_000}`,
    `p/b ${4 * MIB} 10`,
  ]);
  expect(checked.toSorted((one, other) => one.chunk - other.chunk)).toEqual(
    chunks.map((_, index) => ({ chunk: index, outcome: index === 1 ? 'wrong' : 'good' })),
  );
});

test('damaged, short, archived and missing packs are named with the files that they are for', async () => {
  const { rig, writer, verify } = await manyFiles();
  await writer.commit({ a: 'aaaa', b: 'bbbb', c: 'cccc', d: 'dddd', e: 'eeee' });
  const packOf = (content: string) =>
    rig.blobs
      .names()
      .find((name) => name.includes('/packs/') && rig.blobs.content(name)?.includes(content)) ?? '';
  const names = ['aaaa', 'bbbb', 'cccc', 'dddd'].map(packOf);
  const [a = '', b = '', c = '', d = ''] = names;
  rig.blobs.corrupt(a, (pack) => Buffer.concat([Buffer.from('AAAA'), pack.subarray(4)]));
  rig.blobs.corrupt(b, (pack) => pack.subarray(0, 3));
  rig.blobs.archive(c);
  rig.blobs.remove(d);
  const short = (name: string) => name.slice(`${PREFIX}packs/`.length);
  const result = await verify();
  expect(result).toMatchObject({ files: 5, chunks: 5, chunksRead: 2, isWhole: false, pieces: { count: 0 } });
  expect(result.packs.first).toEqual([
    { name: short(b), problem: 'wrong-length' },
    { name: short(c), problem: 'archived' },
    { name: short(d), problem: 'gone' },
  ]);
  expect(result.damaged.first.toSorted((one, other) => (one.path < other.path ? -1 : 1))).toEqual([
    { path: 'a', missing: 0, wrong: 1 },
    { path: 'b', missing: 1, wrong: 0 },
    { path: 'c', missing: 1, wrong: 0 },
    { path: 'd', missing: 1, wrong: 0 },
  ]);
});

test('a piece that can not be read costs what is in it, all else is checked', async () => {
  const { rig, manifest, verify } = await manyFiles();
  const [first = '', last = ''] = manifest.metadata.map(({ name }) => `${PREFIX}packs/${name}`);
  // The first checkpoint's pieces: most of the tree's leaves.
  rig.blobs.corrupt(first, (pack) => Buffer.concat([Buffer.alloc(20), pack.subarray(20)]));
  const result = await verify();
  expect(result.isWhole).toBe(false);
  expect(result.pieces.first).toMatchObject([{ what: 'tree', path: expect.stringMatching(/^d\d/) }]);
  expect(result.files).toBeGreaterThan(2000);
  expect(result.files).toBeLessThan(3004);
  rig.blobs.remove(last);
  expect(await verify()).toMatchObject({
    files: 0,
    packs: { count: 1 },
    pieces: { first: [{ what: 'table-of-packs' }, { what: 'tree', path: '' }] },
  });
});

test('a pack that goes while it is read is missing', async () => {
  const { rig } = await manyFiles();
  const writer = rig.writer();
  await writer.takeOver();
  await writer.commit({ a: 'aaaa' });
  const hooks = {
    before({ operation, name }: { readonly operation: string; readonly name: string }) {
      if (operation === 'read' && rig.blobs.content(name)?.includes('aaaa') === true) rig.blobs.remove(name);
    },
  };
  const result = await verifySet({ place: MADE_PLACE }, { store: rig.blobs.connect(hooks) }, signal);
  expect(result).toMatchObject({ damaged: { first: [{ path: 'a', missing: 1 }] }, isWhole: false });
});

test.each([undefined, '00000001', 'x'])('without a checkpoint %s there is nothing to verify', async (id) => {
  const rig = createRig();
  await rig.writer().takeOver();
  const options = { place: MADE_PLACE, ...(id !== undefined && { id }) };
  await expect(verifySet(options, { store: rig.store }, signal)).rejects.toMatchObject({
    code: 'nothing-found',
  });
});
