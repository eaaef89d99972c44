import { AssertionFailed } from '../../../base/assert.ts';
import { forEachInSlices } from '../../../base/slices.ts';
import { type HashSpec, type PackName, type StoredChunk, isStored } from '../../format/chunk.ts';
import { chunkIdOf } from '../../format/chunk-id.ts';
import type { Entry, FileEntry } from '../../format/entry.ts';
import type { PackUse } from '../../format/manifest.ts';
import {
  type ChildRef,
  type Piece,
  type TreeEntry,
  chunkListPieces,
  cutLeaves,
  cutNodes,
  cutPackUses,
  isLong,
} from '../../format/tree/tree.ts';

export interface WrittenTree {
  /** The topmost piece; null: it has no entries. */
  readonly root: StoredChunk | null;
  /** Of the table of data packs. */
  readonly packs: StoredChunk | null;
  /** All pieces of both, by names that are the same for the next tree. */
  readonly pieces: ReadonlyMap<string, StoredChunk>;
  /** Bytes of each data pack that its files need. */
  readonly used: ReadonlyMap<PackName, number>;
}

export interface TreeDependencies {
  readonly hash: HashSpec;
  /** Pieces of the tree before, by name: one with the same id needn't be stored again. */
  readonly former: ReadonlyMap<string, StoredChunk>;
  /** Whether the store has it still. */
  readonly isThere: (piece: StoredChunk) => boolean;
  readonly putPieces: (pieces: readonly Uint8Array[]) => Promise<readonly StoredChunk[]>;
  /** Resolves once it is known how long each data pack is. */
  readonly sealed: () => Promise<void>;
  /** Of a data pack's blob. */
  readonly bytesOf: (pack: PackName) => number;
}

/** So much is handed over at once. */
const TOGETHER_BYTES = 4 * 1024 ** 2;
const PIECES_TOGETHER = 8;

/**
 * Writes the pieces of a checkpoint's tree that the store lacks: `entries` in the order of paths. Rejects with what
 * `putPieces` rejects with.
 */
export async function writeTree(
  entries: readonly Entry[],
  dependencies: TreeDependencies,
  signal: AbortSignal,
): Promise<WrittenTree> {
  const pieces = new Map<string, StoredChunk>();
  const used = new Map<PackName, number>();
  const write = (level: string, all: Iterable<Piece>) =>
    writePieces(level, all, pieces, dependencies, signal);
  const treeEntries: TreeEntry[] = [];
  const long: FileEntry[] = [];
  await forEachInSlices(
    entries,
    (entry) => {
      treeEntries.push(entry);
      if (entry.type !== 'file') return;
      for (const chunk of entry.chunks)
        if (isStored(chunk)) used.set(chunk.pack, (used.get(chunk.pack) ?? 0) + chunk.stored);
      if (isLong(entry.chunks)) long.push(entry);
    },
    signal,
  );
  const lists = new Map<string, readonly StoredChunk[]>();
  for (const { path, chunks } of long) {
    const named = [...chunkListPieces(chunks)].map((bytes, index) => ({ first: `${path}/${index}`, bytes }));
    lists.set(
      path,
      (await write('list', named)).map(({ ref }) => ref),
    );
  }
  const withLists = lists.size === 0 ? treeEntries : treeEntries.map((entry) => shortened(entry, lists));
  const root = await topOf('tree', cutLeaves(withLists), write);
  await dependencies.sealed();
  const rows = [...used].map(([name, bytes]): PackUse => ({
    name,
    bytes: dependencies.bytesOf(name),
    used: bytes,
  }));
  rows.sort((one, other) => (one.name < other.name ? -1 : 1));
  const packs = await topOf('packs', cutPackUses(rows), write);
  return { root, packs, pieces, used };
}

function shortened(entry: TreeEntry, lists: ReadonlyMap<string, readonly StoredChunk[]>): TreeEntry {
  if (entry.type !== 'file' || 'lists' in entry) return entry;
  const own = lists.get(entry.path);
  if (own === undefined) return entry;
  const { chunks, ...file } = entry;
  return { ...file, lists: own, chunkCount: chunks.length };
}

type Write = (level: string, all: Iterable<Piece>) => Promise<readonly ChildRef[]>;

/** Level by level, until one piece is left. */
async function topOf(kind: string, leaves: Iterable<Piece>, write: Write): Promise<StoredChunk | null> {
  let children = await write(`${kind} 0`, leaves);
  for (let level = 1; children.length > 1; level++)
    children = await write(`${kind} ${level}`, cutNodes(children));
  return children[0]?.ref ?? null;
}

async function writePieces(
  level: string,
  all: Iterable<Piece>,
  pieces: Map<string, StoredChunk>,
  { hash, former, isThere, putPieces }: TreeDependencies,
  signal: AbortSignal,
): Promise<readonly ChildRef[]> {
  const children: { readonly first: string; ref: StoredChunk | undefined }[] = [];
  let due: { readonly index: number; readonly bytes: Uint8Array }[] = [];
  let dueBytes = 0;
  const put = async () => {
    const refs = await putPieces(due.map(({ bytes }) => bytes));
    for (const [at, { index }] of due.entries()) {
      const child = children[index];
      if (child !== undefined) child.ref = refs[at];
    }
    due = [];
    dueBytes = 0;
  };
  let count = 0;
  for (const { first, bytes } of all) {
    const known = former.get(`${level} ${first}`);
    const isSame =
      known !== undefined &&
      known.plain === bytes.length &&
      isThere(known) &&
      known.id === chunkIdOf(bytes, hash);
    children.push({ first, ref: isSame ? known : undefined });
    if (!isSame) {
      due.push({ index: children.length - 1, bytes });
      dueBytes += bytes.length;
    }
    if (dueBytes >= TOGETHER_BYTES) await put();
    // Cutting one piece takes less than a millisecond.
    if (++count % PIECES_TOGETHER !== 0) continue;
    await new Promise((resolve) => setImmediate(resolve));
    signal.throwIfAborted();
  }
  if (due.length > 0) await put();
  return children.map(({ first, ref }) => {
    if (ref === undefined) throw new AssertionFailed(`the piece ${level} ${first} was not answered`);
    pieces.set(`${level} ${first}`, ref);
    return { first, ref };
  });
}
