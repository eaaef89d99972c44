import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import type { FileChunk } from '../../../src/checkpoint/format/chunk.ts';
import type { Entry } from '../../../src/checkpoint/format/entry.ts';
import type { PackUse } from '../../../src/checkpoint/format/manifest.ts';
import { packName } from '../../../src/checkpoint/format/names.ts';
import {
  cutLeaves,
  cutPackUses,
  isLong,
  walkPackUses,
  walkTree,
} from '../../../src/checkpoint/format/tree/tree.ts';
import {
  anyTree,
  asTree,
  chunkOf,
  createPieces,
  directoryOf,
  entriesOf,
  EPOCH,
  fileOf,
  manyFiles,
  PROCESS,
  putPieces,
  putTree,
} from './tree-rig.ts';

const signal = new AbortController().signal;

describe('a tree', () => {
  test('gives back its entries', async () => {
    await fc.assert(
      fc.asyncProperty(anyTree, async (entries) => {
        const pieces = createPieces();
        const root = putTree(entries, pieces.put);
        expect(await entriesOf(root, pieces)).toEqual(entries);
      }),
    );
  });

  test('of nothing is none', async () => {
    const pieces = createPieces();
    expect(putTree([], pieces.put)).toBeNull();
    expect(await entriesOf(null, pieces)).toEqual([]);
  });

  test('of many files has levels, and pieces that are neither tiny nor large', async () => {
    const pieces = createPieces();
    const entries = manyFiles(20_000);
    const leaves = [...cutLeaves(entries.filter((entry) => entry.type !== 'hardlink'))];
    expect(leaves.length).toBeGreaterThan(20_000 / 250);
    expect(leaves.length).toBeLessThan(20_000 / 90);
    expect(Math.max(...leaves.map(({ bytes }) => bytes.length))).toBeLessThan(192 * 1024);
    expect(await entriesOf(putTree(entries, pieces.put), pieces)).toEqual(entries);
  });

  test('of a folder that is large, of long names and long targets, has no piece that is too large', async () => {
    const path = '\u0001'.repeat(250);
    const entries = asTree(
      Array.from({ length: 300 }, (_, index): Entry => ({
        ...directoryOf(`${path}/${path}/${path}-${String(index).padStart(4, '0')}`),
        type: 'symlink',
        target: '\u0002'.repeat(4000),
      })),
    );
    const pieces = createPieces();
    expect(await entriesOf(putTree(entries, pieces.put), pieces)).toEqual(entries);
    expect(Math.max(...pieces.read.map(({ plain }) => plain))).toBeLessThan(256 * 1024);
  });

  test('keeps the list of a large file in pieces', async () => {
    const chunks = Array.from({ length: 5000 }, (_, index): FileChunk =>
      index % 7 === 0 ? { plain: 4096 } : chunkOf(index),
    );
    expect(isLong(chunks)).toBe(true);
    expect(isLong(chunks.slice(0, 64))).toBe(false);
    const entries = asTree([fileOf('a/large', chunks), fileOf('a/small', chunks.slice(0, 64)), fileOf('b')]);
    const pieces = createPieces();
    expect(await entriesOf(putTree(entries, pieces.put), pieces)).toEqual(entries);
    // A leaf, and three lists of at most 2,048.
    expect(pieces.read).toHaveLength(4);
    const before = pieces.count;
    const changed = chunks.with(3000, chunkOf(1_000_000));
    putTree(
      asTree([fileOf('a/large', changed), ...entries.filter(({ path }) => path !== 'a/large')]),
      pieces.put,
    );
    // The second list, and the leaf.
    expect(pieces.count - before).toBe(2);
  });
});

describe('a change', () => {
  const entries = manyFiles(5000);
  /** Leaves, nodes, and perhaps the root above those. */
  const depth = 3;

  function piecesAfter(change: (entries: readonly Entry[]) => readonly Entry[]): number {
    const pieces = createPieces();
    putTree(entries, pieces.put);
    const before = pieces.count;
    putTree(change(entries), pieces.put);
    return pieces.count - before;
  }

  test('of one entry makes one new leaf, and a new node on each level above it', () => {
    fc.assert(
      fc.property(
        fc.nat({ max: entries.length - 1 }),
        fc.bigInt({ min: 1n, max: 2n ** 62n }),
        (at, mtimeNs) => {
          const changed = piecesAfter((all) =>
            all.map((entry, index) =>
              index === at && entry.type !== 'hardlink' ? { ...entry, mtimeNs } : entry,
            ),
          );
          expect(changed).toBeGreaterThan(1);
          expect(changed).toBeLessThanOrEqual(depth);
        },
      ),
      { numRuns: 10 },
    );
  });

  test('that adds or removes an entry moves no more than the nearest cuts', () => {
    fc.assert(
      fc.property(fc.nat({ max: 49 }), fc.stringMatching(/^[a-z]{1,8}$/), (folder, name) => {
        const place = `folder-${String(folder).padStart(4, '0')}`;
        const added = piecesAfter((all) => asTree([...all, fileOf(`${place}/${name}`)]));
        const removed = piecesAfter((all) => all.filter(({ path }) => path !== `${place}/file-00042.txt`));
        expect(added).toBeLessThanOrEqual(depth * 3);
        expect(removed).toBeLessThanOrEqual(depth * 3);
      }),
      { numRuns: 5 },
    );
  });
});

describe('reading a part', () => {
  const entries = manyFiles(20_000);

  test('asks for no piece that is not in it', async () => {
    const pieces = createPieces();
    const root = putTree(entries, pieces.put);
    const all = (await entriesOf(root, pieces)).length;
    expect(all).toBe(entries.length);
    const before = pieces.read.length;
    const from = 'folder-0100';
    const to = 'folder-0101';
    const part = await entriesOf(
      root,
      pieces,
      (first, next) => first < to && (next === undefined || next > from),
    );
    const inside = (entry: Entry) => entry.path === from || entry.path.startsWith(`${from}/`);
    expect(part.filter(inside)).toEqual(entries.filter(inside));
    expect(part.length).toBeLessThan(2500);
    expect(pieces.read.length - before).toBeLessThan(12);
  });

  test("a file that is somebody's folder is refused even so", async () => {
    const pieces = createPieces();
    const root = putPieces(cutLeaves([fileOf('a'), fileOf('a/b')]), pieces.put);
    await expect(entriesOf(root, pieces, () => true)).rejects.toMatchObject({ code: 'bad-tree' });
  });
});

describe('reading', () => {
  const entries = manyFiles(20_000);

  test('asks for some pieces ahead, and for no more', async () => {
    const pieces = createPieces();
    const root = putTree(entries, pieces.put);
    let open = 0;
    let most = 0;
    const slow = async (ref: Parameters<typeof pieces.readPiece>[0]) => {
      most = Math.max(most, ++open);
      await new Promise((resolve) => setImmediate(resolve));
      open--;
      return pieces.readPiece(ref);
    };
    let count = 0;
    for await (const _ of walkTree(root, slow, signal)) count++;
    expect(count).toBe(entries.length);
    expect(most).toBeGreaterThan(8);
    expect(most).toBeLessThan(50);
  });

  test('ends with what a read failed with, once none is open any more', async () => {
    const pieces = createPieces();
    const root = putTree(entries, pieces.put);
    let open = 0;
    let reads = 0;
    const failing = async (ref: Parameters<typeof pieces.readPiece>[0]) => {
      open++;
      await new Promise((resolve) => setImmediate(resolve));
      open--;
      if (++reads === 10) throw new Error('the tenth');
      return pieces.readPiece(ref);
    };
    await expect(async () => {
      for await (const _ of walkTree(root, failing, signal));
    }).rejects.toThrow('the tenth');
    expect(open).toBe(0);
  });

  test('ends when it is not wanted any more', async () => {
    const pieces = createPieces();
    const root = putTree(entries, pieces.put);
    const controller = new AbortController();
    const reason = new Error('enough');
    let count = 0;
    await expect(async () => {
      for await (const _ of walkTree(root, pieces.readPiece, controller.signal)) {
        if (++count === 1000) controller.abort(reason);
      }
    }).rejects.toBe(reason);
    expect(count).toBeLessThan(3000);
  });
});

test('a table of packs gives back its rows', async () => {
  const pieces = createPieces();
  const rows: PackUse[] = Array.from({ length: 3000 }, (_, seq) => ({
    name: packName(EPOCH, PROCESS, seq),
    bytes: seq * 11,
    used: seq * 7,
  }));
  const root = putPieces(cutPackUses(rows), pieces.put);
  expect(pieces.count).toBeGreaterThan(10);
  const read: PackUse[] = [];
  for await (const row of walkPackUses(root, pieces.readPiece, signal)) read.push(row);
  expect(read).toEqual(rows);
  for await (const row of walkPackUses(null, pieces.readPiece, signal)) expect(row).toBeUndefined();
});
