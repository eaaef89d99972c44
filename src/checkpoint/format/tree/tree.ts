import type { FileChunk, StoredChunk } from '../chunk.ts';
import { cut } from './cut.ts';
import type { Piece } from './cut.ts';
import type { Entry } from '../entry.ts';
import { decodeLeaf, leafBuilder } from './leaf.ts';
import type { PackUse } from '../manifest.ts';
import { quotePath } from '../../../base/files/path-name.ts';
import type { Bad } from './piece.ts';
import { decodeChunkList, decodePackUses, nodeBuilder, packUseBuilder } from './piece-kinds.ts';
import { createTreeCheck } from './check.ts';
import { LIST_CHUNKS } from './tree-entry.ts';
import type { ChildRef, LongFileEntry, TreeEntry } from './tree-entry.ts';
import { readInOrder, walkLeaves } from './walk.ts';
import type { ReadPiece, Within } from './walk.ts';

export type { Piece } from './cut.ts';
export { chunkListPieces } from './piece-kinds.ts';
export { isLong } from './tree-entry.ts';
export type { ChildRef, LongFileEntry, TreeEntry } from './tree-entry.ts';
export type { ReadPiece, Within } from './walk.ts';

/*
 * A checkpoint's entries are one list, sorted by path and cut into pieces, the leaves; nodes above them say what begins
 * where, in as many levels as it takes for one topmost piece. A change touches one leaf and the nodes above it. The table
 * of data packs is made in the same way, by name. What a piece looks like is in piece.ts, leaf.ts and piece-kinds.ts.
 *
 * INVARIANTS
 * - Pieces depend on what they hold alone: equal content gives equal bytes, whoever cuts it and whatever is around it.
 * - Whoever reads is told `bad-tree` or what `readPiece` rejects with, whatever the pieces hold, and holds no more than
 *   some pieces, the chunks of one file and the paths of all files.
 */

/** `entries`: in the order of comparePaths, none with an entryProblem, each after the folder that it is in. */
export function cutLeaves(entries: Iterable<TreeEntry>): Iterable<Piece> {
  return cut(entries, ({ path }) => path, leafBuilder);
}

/** `rows`: in the order of names. */
export function cutPackUses(rows: Iterable<PackUse>): Iterable<Piece> {
  return cut(rows, ({ name }) => name, packUseBuilder);
}

/** One level above `children`, which are at least two; again until one piece is left, which is the root. */
export function cutNodes(children: Iterable<ChildRef>): Iterable<Piece> {
  return cut(children, ({ first }) => first, nodeBuilder);
}

/**
 * The entries of a tree, in order. `within`: which parts of the tree are read, if not all; then folders and targets of
 * hard links that an entry relies on may be in other parts. Throws `bad-tree`, naming the piece and the entry.
 */
export async function* walkTree(
  root: StoredChunk | null,
  readPiece: ReadPiece,
  signal: AbortSignal,
  within?: Within,
): AsyncGenerator<Entry> {
  if (root === null) return;
  const check = createTreeCheck(within === undefined);
  const leaves = { kind: 'leaf', decode: decodeLeaf, pathOf: ({ path }: TreeEntry) => path };
  for await (const [items, bad] of walkLeaves(root, leaves, { readPiece, signal, within })) {
    for (const item of items) {
      const entry = 'lists' in item ? await withChunks(item, readPiece, signal, bad) : item;
      const problem = check(entry);
      if (problem !== undefined) throw bad(`${quotePath(entry.path)}: ${problem}`);
      yield entry;
    }
    // Pieces that are there already would otherwise keep timers and sockets waiting for as long as there are any.
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** The rows of a table of data packs, in order. Throws `bad-tree`. */
export async function* walkPackUses(
  root: StoredChunk | null,
  readPiece: ReadPiece,
  signal: AbortSignal,
): AsyncGenerator<PackUse> {
  if (root === null) return;
  let before = '';
  const leaves = { kind: 'packs', decode: decodePackUses, pathOf: ({ name }: PackUse) => name };
  for await (const [rows, bad] of walkLeaves(root, leaves, { readPiece, signal })) {
    for (const row of rows) {
      if (row.name <= before) throw bad(`${row.name} does not come after ${before}`);
      before = row.name;
      yield row;
    }
  }
}

async function withChunks(
  long: LongFileEntry,
  readPiece: ReadPiece,
  signal: AbortSignal,
  bad: Bad,
): Promise<Entry> {
  const { lists: _, chunkCount: __, ...file } = long;
  const chunks: FileChunk[] = [];
  let bytes = 0;
  for await (const list of chunkLists(long, readPiece, signal)) {
    for (const chunk of list) {
      bytes += chunk.plain;
      chunks.push(chunk);
    }
    if (bytes > file.size) throw bad(`${quotePath(file.path)}: its chunks have more bytes than it has`);
  }
  return { ...file, chunks };
}

/** The chunks of a long file, list by list. Throws `bad-tree`. */
export async function* chunkLists(
  { lists, chunkCount }: LongFileEntry,
  readPiece: ReadPiece,
  signal: AbortSignal,
): AsyncGenerator<readonly FileChunk[]> {
  let left = chunkCount;
  for await (const [piece, bad] of readInOrder(lists, readPiece, signal)) {
    yield decodeChunkList(piece, Math.min(LIST_CHUNKS, left), bad);
    left -= LIST_CHUNKS;
  }
}
