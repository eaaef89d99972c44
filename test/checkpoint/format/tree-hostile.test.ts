import { describe, expect, test } from 'vitest';

import { EvictdError } from '../../../src/base/errors.ts';
import type { StoredChunk } from '../../../src/checkpoint/format/chunk.ts';
import type { Entry } from '../../../src/checkpoint/format/entry.ts';
import { chunkListPieces, cutLeaves, walkPackUses } from '../../../src/checkpoint/format/tree/tree.ts';
import { expectBadTree } from './bad-tree.ts';
import { chunkOf, createPieces, directoryOf, entriesOf, fileOf } from './tree-rig.ts';

const signal = new AbortController().signal;

describe('refused, naming the place:', () => {
  const expectRefused = async (bytes: string | Uint8Array) => {
    const pieces = createPieces();
    const ref = pieces.put(typeof bytes === 'string' ? Buffer.from(bytes) : bytes);
    const error: unknown = await entriesOf(ref, pieces).catch((error: unknown) => error);
    expectBadTree(error);
    return error instanceof EvictdError ? error.message : '';
  };
  const leafOf = (...entries: Entry[]) => [...cutLeaves(entries)][0]?.bytes ?? Buffer.alloc(0);

  test.each([
    ['entries that are there twice', [fileOf('a'), fileOf('a')], 'does not come after "a"'],
    ['entries in another order', [fileOf('b'), fileOf('a')], 'does not come after "b"'],
    ['an entry without its folder', [fileOf('a/b')], '"a", which holds it, is no folder before it'],
    ['a folder that comes later', [fileOf('a/b/c'), directoryOf('d')], '"a/b", which holds it'],
    ['a file with something below it', [fileOf('a'), fileOf('a/b')], '"a", which holds it'],
    [
      'a link with something below it',
      [{ ...directoryOf('a'), type: 'symlink', target: '/etc' } as const, fileOf('a/passwd')],
      '"a", which holds it',
    ],
    [
      'a folder of the folder before',
      [directoryOf('a'), directoryOf('a/b'), fileOf('a/bc/d')],
      '"a/bc", which holds it',
    ],
    ['a hard link to nothing', [{ type: 'hardlink', path: 'b', target: 'a' } as const], 'a hard link to "a"'],
    [
      'a hard link to a folder',
      [directoryOf('a'), { type: 'hardlink', path: 'b', target: 'a' } as const],
      'a hard link to "a"',
    ],
    [
      'a hard link to a hard link',
      [
        fileOf('a'),
        { type: 'hardlink', path: 'b', target: 'a' },
        { type: 'hardlink', path: 'c', target: 'b' },
      ] as const,
      'a hard link to "b"',
    ],
    ['a path that leads out', [fileOf('../a')], 'its path holds the segment ..'],
    ['a time that no disk has', [fileOf('a', [], 2n ** 63n)], 'its time is'],
  ])('%s', async (_, entries, why) => {
    expect(await expectRefused(leafOf(...entries))).toContain(why);
  });

  test.each([
    ['what is no JSON', 'x'.repeat(100)],
    ['what is no UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])],
    ['no object', '[]'],
    ['no rows', '{"kind":"leaf","packs":[],"attributes":[],"folders":[],"rows":[]}'],
    ['another kind', '{"kind":"tree","rows":[1]}'],
    [
      'a node of nothing but itself',
      '{"kind":"node","packs":[],"rows":[["a",["00000000000000000000000000000000",1,1,0,0]]]}',
    ],
    ['a million brackets', '['.repeat(500_000) + ']'.repeat(500_000)],
    [
      'a million empty rows',
      `{"kind":"leaf","packs":[],"attributes":[],"folders":[],"rows":[${'[],'.repeat(340_000)}[]]}`,
    ],
    [
      'a name of a megabyte',
      `{"kind":"leaf","packs":[],"attributes":[[1,1,1]],"folders":[""],"rows":[["directory",0,"${'x'.repeat(1_000_000)}",0,"1"]]}`,
    ],
    ['a prototype', '{"__proto__":{"rows":[1]},"kind":"leaf"}'],
    ['a length', '{"kind":"leaf","packs":{"length":5},"attributes":[],"folders":[],"rows":[1]}'],
  ])('%s', async (_, bytes) => {
    await expectRefused(bytes);
  });

  test('a piece of more than a MiB, which is not even read', async () => {
    const pieces = createPieces();
    await expect(entriesOf({ ...chunkOf(1), plain: 1024 ** 2 + 1 }, pieces)).rejects.toMatchObject({
      code: 'bad-tree',
    });
    expect(pieces.read).toEqual([]);
  });

  test('a piece of another length', async () => {
    const pieces = createPieces();
    const ref = pieces.put(leafOf(fileOf('a')));
    const error: unknown = await entriesOf({ ...ref, plain: ref.plain + 1 }, pieces).catch(
      (error: unknown) => error,
    );
    expectBadTree(error);
  });

  test('nodes that go down without end', async () => {
    const pieces = createPieces();
    let ref = pieces.put(leafOf(fileOf('a')));
    const node = ({ id, plain, stored, pack, offset }: StoredChunk) =>
      pieces.put(
        Buffer.from(
          JSON.stringify({ kind: 'node', packs: [pack], rows: [['a', [id, plain, stored, 0, offset]]] }),
        ),
      );
    for (let level = 1; level < 8; level++) ref = node(ref);
    expect(await entriesOf(ref, pieces)).toHaveLength(1);
    const error: unknown = await entriesOf(node(ref), pieces).catch((error: unknown) => error);
    expectBadTree(error);
  });

  test('one leaf at several places of a node', async () => {
    const pieces = createPieces();
    const { id, plain, stored, pack, offset } = pieces.put(leafOf(directoryOf('b'), fileOf('b/c')));
    for (const firsts of [['b', 'b'], ['b', 'c'], ['a', 'b'], ['b', 'b/b'], ['b', 'b/c'], ['c']]) {
      const rows = firsts.map((first) => [first, [id, plain, stored, 0, offset]]);
      await expectRefused(Buffer.from(JSON.stringify({ kind: 'node', packs: [pack], rows }))).catch(
        () => undefined,
      );
      const root = pieces.put(Buffer.from(JSON.stringify({ kind: 'node', packs: [pack], rows })));
      expectBadTree(await entriesOf(root, pieces).catch((error: unknown) => error));
    }
  });

  test('a file that says it has more chunks than its lists hold, or others', async () => {
    const chunks = Array.from({ length: 2100 }, (_, index) => chunkOf(index));
    const pieces = createPieces();
    const lists = [...chunkListPieces(chunks)].map((bytes) => pieces.put(bytes));
    const size = 2100 * 4096;
    const [long, short] = lists;
    if (long === undefined || short === undefined) throw new Error('no lists');
    for (const file of [
      { size, chunkCount: 2101, lists },
      { size, chunkCount: 2048, lists },
      { size: size + 1, chunkCount: 2100, lists },
      { size: size - 1, chunkCount: 2100, lists },
      { size, chunkCount: 2100, lists: [short, long] },
      { size, chunkCount: 4096, lists: [long, long] },
      { size, chunkCount: 2100, lists: [long] },
      { size, chunkCount: 2 ** 31, lists },
    ]) {
      const { chunks: _, ...attributes } = { ...fileOf('a'), chunks: [] };
      const [leaf] = cutLeaves([
        { ...attributes, type: 'file', mode: 0, uid: 0, gid: 0, mtimeNs: 1n, ...file },
      ]);
      const root = pieces.put(leaf?.bytes ?? Buffer.alloc(0));
      expectBadTree(await entriesOf(root, pieces).catch((error: unknown) => error));
    }
  });

  test.each([
    [
      ['0123456789abcdef-89abcdef-00000002', 1, 1],
      ['0123456789abcdef-89abcdef-00000001', 1, 1],
    ],
    [
      ['0123456789abcdef-89abcdef-00000001', 1, 1],
      ['0123456789abcdef-89abcdef-00000001', 1, 1],
    ],
    [['../../format.json', 1, 1]],
    [['0123456789abcdef-89abcdef-00000001', -1, 1]],
    [['0123456789abcdef-89abcdef-00000001', 1, 'x']],
    [null],
  ])('the table of packs %j', async (...rows) => {
    const pieces = createPieces();
    const root = pieces.put(Buffer.from(JSON.stringify({ kind: 'packs', rows })));
    const walk = async () => {
      for await (const row of walkPackUses(root, pieces.readPiece, signal)) expect(row).toBeDefined();
    };
    expectBadTree(await walk().catch((error: unknown) => error));
  });
});
