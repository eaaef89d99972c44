import fc from 'fast-check';

import type { FileChunk, HashSpec, StoredChunk } from '../../../src/checkpoint/format/chunk.ts';
import { chunkIdOf } from '../../../src/checkpoint/format/chunk-id.ts';
import type { DirectoryEntry, Entry, FileEntry } from '../../../src/checkpoint/format/entry.ts';
import { PACKS, packName } from '../../../src/checkpoint/format/names.ts';
import { decodePath, encodePath, pathProblem } from '../../../src/base/files/path-name.ts';
import { comparePaths } from '../../../src/checkpoint/format/path-order.ts';
import { badPiece } from '../../../src/checkpoint/format/tree/piece.ts';
import {
  chunkListPieces,
  cutLeaves,
  cutNodes,
  isLong,
  walkTree,
} from '../../../src/checkpoint/format/tree/tree.ts';
import type { Piece, TreeEntry, Within } from '../../../src/checkpoint/format/tree/tree.ts';

export const SPEC: HashSpec = { name: 'gmac-128', key: Buffer.alloc(16, 7).toString('base64') };
export const EPOCH = '0123456789abcdef';
export const PROCESS = '89abcdef';

/** Pieces by the place that their refs say, as a pack of metadata would have them. */
export function createPieces() {
  const pieces = new Map<number, Uint8Array>();
  const known = new Map<string, StoredChunk>();
  const read: StoredChunk[] = [];
  let end = 0;
  return {
    /** Pieces that were asked for. */
    read,
    /** How many different ones were put. */
    get count() {
      return known.size;
    },
    put: (bytes: Uint8Array): StoredChunk => {
      const id = chunkIdOf(bytes, SPEC);
      const before = known.get(id);
      if (before !== undefined) return before;
      const size = Math.max(1, bytes.length);
      const ref = { id, plain: bytes.length, stored: size, pack: packName(EPOCH, PROCESS, 1), offset: end };
      pieces.set(end, bytes);
      known.set(id, ref);
      end += size;
      return ref;
    },
    readPiece: async (ref: StoredChunk): Promise<Uint8Array> => {
      read.push(ref);
      const bytes = pieces.get(ref.offset);
      // As a store's reader, which finds other content there than the id says.
      if (bytes === undefined) throw badPiece(PACKS + ref.pack, ref)('there is none');
      return bytes;
    },
  };
}
export type Pieces = ReturnType<typeof createPieces>;

/** What a leaf has of an entry; lists of chunks are put as pieces. */
export function treeEntry(entry: Entry, put: (bytes: Uint8Array) => StoredChunk): TreeEntry {
  if (entry.type !== 'file' || !isLong(entry.chunks)) return entry;
  const { chunks, ...file } = entry;
  return { ...file, chunkCount: chunks.length, lists: [...chunkListPieces(chunks)].map(put) };
}

/** Puts the whole tree. Null when there is nothing in it. */
export function putTree(
  entries: readonly Entry[],
  put: (bytes: Uint8Array) => StoredChunk,
): StoredChunk | null {
  return putPieces(cutLeaves(entries.map((entry) => treeEntry(entry, put))), put);
}

/** Puts pieces and nodes above them until there is one. */
export function putPieces(
  leaves: Iterable<Piece>,
  put: (bytes: Uint8Array) => StoredChunk,
): StoredChunk | null {
  const putLevel = (pieces: Iterable<Piece>) =>
    [...pieces].map(({ first, bytes }) => ({ first, ref: put(bytes) }));
  let level = putLevel(leaves);
  while (level.length > 1) level = putLevel(cutNodes(level));
  return level[0]?.ref ?? null;
}

export async function entriesOf(root: StoredChunk | null, pieces: Pieces, within?: Within): Promise<Entry[]> {
  const entries: Entry[] = [];
  for await (const entry of walkTree(root, pieces.readPiece, new AbortController().signal, within))
    entries.push(entry);
  return entries;
}

export function chunkOf(seed: number, plain = 4096, changes: Partial<StoredChunk> = {}): StoredChunk {
  const id = seed.toString(16).padStart(32, '0');
  const pack = packName(EPOCH, PROCESS, 1 + Math.floor(seed / 1000));
  return { id, plain, stored: plain, pack, offset: (seed % 1000) * 4096, ...changes };
}

export function fileOf(path: string, chunks: readonly FileChunk[] = [], mtimeNs = 1n): FileEntry {
  const size = chunks.reduce((sum, { plain }) => sum + plain, 0);
  return { type: 'file', path, mode: 0o644, uid: 1000, gid: 100, mtimeNs, size, chunks };
}

export function directoryOf(path: string): DirectoryEntry {
  return { type: 'directory', path, mode: 0o755, uid: 1000, gid: 100, mtimeNs: 1n };
}

/** Sorted, with each folder that one of them is in. */
export function asTree(entries: readonly Entry[]): Entry[] {
  const byPath = new Map<string, Entry>();
  for (const entry of entries) byPath.set(entry.path, entry);
  for (const { path } of entries) {
    for (let slash = path.indexOf('/'); slash !== -1; slash = path.indexOf('/', slash + 1)) {
      const folder = path.slice(0, slash);
      if (byPath.get(folder)?.type !== 'directory') byPath.set(folder, directoryOf(folder));
    }
  }
  return [...byPath.values()].sort((one, other) => comparePaths(one.path, other.path));
}

/** Many small files in folders, as a training set has them. */
export function manyFiles(files: number, perFolder = 100): Entry[] {
  return asTree(
    Array.from({ length: files }, (_, index) => {
      const folder = `folder-${String(Math.floor(index / perFolder)).padStart(4, '0')}`;
      const name = `file-${String(index % perFolder).padStart(5, '0')}.txt`;
      return fileOf(`${folder}/${name}`, [chunkOf(index)], 1_754_000_000_123_456_789n + BigInt(index * 7919));
    }),
  );
}

/** Bytes that a Linux file name can have, with the awkward ones often. */
export const fileName = fc
  .uint8Array({ minLength: 1, maxLength: 40 })
  .map((bytes) => Buffer.from(bytes.map((byte) => (byte === 0 || byte === 0x2f ? 0x2e : byte))))
  .filter((bytes) => !['.', '..'].includes(bytes.toString('latin1')))
  .map(decodePath);

const plainName = fc.stringMatching(/^[a-c!-]{1,3}$/);
const name = fc.oneof({ arbitrary: plainName, weight: 3 }, fileName);
export const anyPath = fc
  .array(name, { minLength: 1, maxLength: 5 })
  .map((names) => names.join('/'))
  .filter((path) => pathProblem(path) === undefined);

const stored = fc
  .record({
    id: fc.stringMatching(/^[0-9a-f]{32}$/),
    plain: fc.integer({ min: 1, max: 2 ** 24 }),
    part: fc.double({ min: 0, max: 1, noNaN: true }),
    seq: fc.integer({ min: 0, max: 3 }),
    offset: fc.integer({ min: 0, max: 2 ** 26 }),
  })
  .map(({ id, plain, part, seq, offset }): FileChunk => {
    const pack = packName(EPOCH, PROCESS, seq);
    return { id, plain, stored: Math.max(1, Math.ceil(plain * part)), pack, offset };
  });
const chunk = fc.oneof(
  { arbitrary: stored, weight: 4 },
  fc.integer({ min: 1, max: 2 ** 40 }).map((plain): FileChunk => ({ plain })),
);
/** Some are right behind each other in one pack. */
const chunks = fc.array(chunk, { maxLength: 5 }).map((list) => {
  let before: StoredChunk | undefined;
  return list.map((one): FileChunk => {
    if (!('pack' in one)) return one;
    const isNext = before !== undefined && one.offset % 2 === 0;
    before =
      isNext && before !== undefined
        ? { ...one, pack: before.pack, offset: before.offset + before.stored }
        : one;
    return before;
  });
});

const attributes = fc.record({
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: fc.integer({ min: 0, max: 2 ** 32 - 2 }),
  gid: fc.integer({ min: 0, max: 2 ** 32 - 2 }),
  mtimeNs: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
});
const target = fc.oneof(anyPath, fc.constantFrom('/', '..', '/etc/passwd', 'x'.repeat(4095)));

const entry = fc.oneof(
  fc.tuple(anyPath, attributes, chunks).map(([path, its, chunks]): Entry => {
    const size = chunks.reduce((sum, { plain }) => sum + plain, 0);
    return { type: 'file', path, ...its, size, chunks };
  }),
  fc.tuple(anyPath, attributes).map(([path, its]): Entry => ({ type: 'directory', path, ...its })),
  fc
    .tuple(anyPath, attributes, target)
    .map(([path, its, target]): Entry => ({ type: 'symlink', path, ...its, target })),
);

/** Any entries that can be a tree, some of them hard links. */
export const anyTree = fc
  .tuple(fc.array(entry, { maxLength: 40 }), fc.array(fc.tuple(anyPath, fc.nat()), { maxLength: 5 }))
  .map(([entries, links]) => {
    const tree = asTree(entries);
    const files = tree.filter(({ type }) => type === 'file');
    const more = links.flatMap(([path, pick]): Entry[] => {
      const target = files[pick % Math.max(1, files.length)]?.path;
      const isFree = tree.every((other) => other.path !== path && !path.startsWith(`${other.path}/`));
      const fits = target !== undefined && isFree && comparePaths(target, path) < 0;
      return fits ? [{ type: 'hardlink', path, target }] : [];
    });
    const whole = asTree([...tree, ...more]);
    // A link that became a folder, since another one is below it, is none any more.
    return whole.filter((one) => one.type !== 'hardlink' || whole.some(({ path }) => path === one.target));
  });

/** Byte order of two paths, folder by folder: what comparePaths must say. */
export function compareBySegments(one: string, other: string): number {
  const ours = one.split('/').map(encodePath);
  const theirs = other.split('/').map(encodePath);
  for (const [index, segment] of ours.entries()) {
    const its = theirs[index];
    if (its === undefined) return 1;
    const order = segment.compare(its);
    if (order !== 0) return order;
  }
  return ours.length - theirs.length;
}
