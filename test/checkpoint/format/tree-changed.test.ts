import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import type { StoredChunk } from '../../../src/checkpoint/format/chunk.ts';
import type { Entry } from '../../../src/checkpoint/format/entry.ts';
import { entryProblem } from '../../../src/checkpoint/format/entry-problem.ts';
import { comparePaths } from '../../../src/checkpoint/format/path-order.ts';
import { chunkListPieces, cutLeaves } from '../../../src/checkpoint/format/tree/tree.ts';
import { expectBadTree } from './bad-tree.ts';
import {
  anyTree,
  chunkOf,
  createPieces,
  directoryOf,
  entriesOf,
  fileOf,
  manyFiles,
  putTree,
} from './tree-rig.ts';
import type { Pieces } from './tree-rig.ts';

/** Whoever reads it is told `bad-tree` and where, or has entries that can be a tree. */
async function expectRefusedOrSane(root: StoredChunk, pieces: Pieces): Promise<void> {
  let entries: readonly Entry[];
  try {
    entries = await entriesOf(root, pieces);
  } catch (error) {
    expectBadTree(error);
    return;
  }
  const files = new Set<string>();
  const folders = new Set<string>(['']);
  for (const [index, entry] of entries.entries()) {
    const before = entries[index - 1]?.path;
    expect(entryProblem(entry)).toBeUndefined();
    if (before !== undefined) expect(comparePaths(before, entry.path)).toBeLessThan(0);
    expect(folders).toContain(entry.path.slice(0, Math.max(0, entry.path.lastIndexOf('/'))));
    if (entry.type === 'hardlink') expect(files).toContain(entry.target);
    if (entry.type === 'file') files.add(entry.path);
    if (entry.type === 'directory') folders.add(entry.path);
  }
}

/** A value of a JSON text, replaced. */
function replaceIn(text: string, pick: number, value: unknown): string {
  const places: { readonly holder: object; readonly key: string }[] = [];
  const collect = (holder: object) => {
    for (const [key, inner] of Object.entries(holder)) {
      places.push({ holder, key });
      if (typeof inner === 'object' && inner !== null) collect(inner as object); // An object, as the check says.
    }
  };
  const json: unknown = JSON.parse(text);
  collect({ json });
  const { holder, key } = places[pick % places.length] ?? { holder: {}, key: '' };
  if (key === 'json') return JSON.stringify(value);
  Reflect.set(holder, key, value);
  return JSON.stringify(json);
}

const change = fc.oneof(
  fc.record({ kind: fc.constant('byte' as const), at: fc.nat(), value: fc.integer({ min: 0, max: 255 }) }),
  fc.record({ kind: fc.constant('cut' as const), at: fc.nat() }),
  fc.record({ kind: fc.constant('lines' as const), one: fc.nat(), other: fc.nat(), doubles: fc.boolean() }),
  fc.record({
    kind: fc.constant('value' as const),
    at: fc.nat(),
    value: fc.oneof(
      fc.jsonValue(),
      fc.integer({ min: -2, max: 9 }),
      fc.constantFrom(
        2 ** 53,
        1e300,
        -1,
        0.5,
        '',
        '..',
        'a',
        'a/b',
        '/',
        '\ud800',
        '1',
        '-0',
        '99999999999999999999',
      ),
    ),
  }),
);
type Change = typeof change extends fc.Arbitrary<infer T> ? T : never;

function changed(bytes: Uint8Array, change: Change): Buffer {
  const copy = Buffer.from(bytes);
  switch (change.kind) {
    case 'byte':
      copy[change.at % copy.length] = change.value;
      return copy;
    case 'cut':
      return copy.subarray(0, change.at % copy.length);
    case 'lines': {
      const lines = copy
        .toString('utf8')
        .replace(/\]\}\n$/, ',\n]}\n')
        .split('\n');
      const count = lines.length - 3;
      const one = 1 + (change.one % count);
      const other = 1 + (change.other % count);
      const line = lines[one] ?? '';
      lines[one] = change.doubles ? line : (lines[other] ?? '');
      lines[other] = line;
      return Buffer.from(lines.join('\n').replace(/,\n\]\}\n$/, ']}\n'), 'utf8');
    }
    case 'value':
      return Buffer.from(replaceIn(copy.toString('utf8'), change.at, change.value), 'utf8');
  }
}

describe('a piece that was changed', () => {
  test('is refused, or says what can be: a leaf', async () => {
    await fc.assert(
      fc.asyncProperty(anyTree, change, async (entries, change) => {
        const pieces = createPieces();
        const [leaf] = cutLeaves(entries.length === 0 ? [directoryOf('a')] : entries);
        await expectRefusedOrSane(pieces.put(changed(leaf?.bytes ?? Buffer.alloc(0), change)), pieces);
      }),
      { numRuns: 800 },
    );
  });

  test('is refused, or says what can be: a node', async () => {
    const honest = createPieces();
    const entries = manyFiles(600);
    const root = putTree(entries, honest.put);
    if (root === null || honest.count < 3) throw new Error('no node');
    const bytes = await honest.readPiece(root);
    await fc.assert(
      fc.asyncProperty(change, async (change) => {
        const pieces = createPieces();
        putTree(entries, pieces.put);
        await expectRefusedOrSane(pieces.put(changed(bytes, change)), pieces);
      }),
      { numRuns: 100 },
    );
  });

  test('is refused, or says what can be: a list of chunks', async () => {
    const chunks = Array.from({ length: 70 }, (_, index) => chunkOf(index));
    const [list = Buffer.alloc(0)] = chunkListPieces(chunks);
    await fc.assert(
      fc.asyncProperty(change, async (change) => {
        const pieces = createPieces();
        const ref = pieces.put(changed(list, change));
        const file = { ...fileOf('a', chunks), chunkCount: 70, lists: [ref] };
        if (ref.plain === 0) return;
        const [leaf] = cutLeaves([file]);
        await expectRefusedOrSane(pieces.put(leaf?.bytes ?? Buffer.alloc(0)), pieces);
      }),
      { numRuns: 500 },
    );
  });
});
