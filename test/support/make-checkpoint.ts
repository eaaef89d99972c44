import { lstat, readdir, readFile, readlink } from 'node:fs/promises';

import { isStored } from '../../src/checkpoint/format/chunk.ts';
import type { Cut, FileChunk, HashSpec, StoredChunk } from '../../src/checkpoint/format/chunk.ts';
import { chunkIdOf, isZero } from '../../src/checkpoint/format/chunk-id.ts';
import type { Entry } from '../../src/checkpoint/format/entry.ts';
import type { Manifest, PackUse, Takeover } from '../../src/checkpoint/format/manifest.ts';
import { encodeSetEntry, sha256Of } from '../../src/checkpoint/format/manifest-json.ts';
import { entryName, nextId, packName, PACKS, setPrefix } from '../../src/checkpoint/format/names.ts';
import { encodePackEnd } from '../../src/checkpoint/format/pack-table.ts';
import type { PackTableRow } from '../../src/checkpoint/format/pack-table.ts';
import { decodePath } from '../../src/base/files/path-name.ts';
import { comparePaths } from '../../src/checkpoint/format/path-order.ts';
import {
  chunkListPieces,
  cutLeaves,
  cutNodes,
  cutPackUses,
  isLong,
} from '../../src/checkpoint/format/tree/tree.ts';
import type { ChildRef, Piece, TreeEntry } from '../../src/checkpoint/format/tree/tree.ts';
import { compressFrame } from '../../src/checkpoint/format/zstd-frame.ts';
import { isOwnPath } from '../../src/checkpoint/scan/own-names.ts';
import type { BlobStore } from '../../src/checkpoint/store/store.ts';

/*
 * Checkpoints for tests of what reads them, made of a folder by the format's own encoders: without threads, an index or
 * anything else that a commit needs.
 */

export const PLACE = { prefix: 'p', key: 'vm-1', set: 'job' };
export const PREFIX = setPrefix(PLACE);
const HASH: HashSpec = { name: 'gmac-128', key: 'AAECAwQFBgcICQoLDA0ODw==' };
const EPOCH = '0123456789abcdef';
const PROCESS = '01234567';
const MIB = 1024 ** 2;

/** A container, as in memory-blobs.ts. */
export interface Blobs {
  connect(): Pick<BlobStore, 'create'>;
}

export interface MakeOptions {
  readonly cut?: Cut;
  readonly compress?: boolean;
  /** The one before: what didn't change stays where it is. */
  readonly after?: Made;
  /** Last, before the entries are written: to say of them what no folder has. */
  readonly change?: (entries: Entry[]) => readonly Entry[];
  /** Members of the manifest. */
  readonly manifest?: Partial<Manifest>;
}

export interface Made {
  readonly manifest: Manifest;
  readonly sha256: string;
  readonly entries: readonly Entry[];
  /** Of the data packs so far, by name. */
  readonly sizes: ReadonlyMap<string, number>;
  /** Of the manifest's blob. */
  readonly name: string;
  /** Blob names. */
  packsOf(path: string): readonly string[];
}

/** A checkpoint of all that is in `folder`, as it is now. */
export async function makeCheckpoint(blobs: Blobs, folder: string, options: MakeOptions = {}): Promise<Made> {
  const { cut = { chunkBytes: MIB, packBytes: 8 * MIB }, compress = false, after, change } = options;
  const id = nextId(after?.manifest.id);
  const writer = createPackWriter(blobs, Number(id) * 0x1000);
  const data = writer.open('data', cut.packBytes, compress);
  const found = await entriesOf(folder, cut, data, (path) =>
    after === undefined ? [] : chunksOf(after.entries, path),
  );
  const entries = (change?.(found) ?? found).toSorted((one, other) => comparePaths(one.path, other.path));
  await data.close();
  const meta = writer.open('meta', cut.packBytes, true);
  const tree = await putTree(entries, meta);
  const sizes = new Map([...(after?.sizes ?? []), ...data.sizes]);
  const packs = await putLevels(cutPackUses(packUses(entries, sizes)), meta);
  await meta.close();
  const isA = (type: Entry['type']) => entries.filter((entry) => entry.type === type).length;
  const manifest: Manifest = {
    kind: 'checkpoint',
    id,
    key: PLACE.key,
    set: PLACE.set,
    parent: after === undefined ? null : { id: after.manifest.id, sha256: after.sha256 },
    epoch: EPOCH,
    process: PROCESS,
    writer: { vmName: 'vm-1', vmId: 'id', bootId: 'boot' },
    createdAt: new Date().toISOString(),
    hash: HASH,
    cut,
    reason: 'command',
    seq: writer.seq(),
    totals: {
      files: isA('file'),
      directories: isA('directory'),
      links: isA('symlink') + isA('hardlink'),
      bytes: entries.reduce((sum, entry) => sum + (entry.type === 'file' ? entry.size : 0), 0),
      bytesSent: 0,
    },
    changing: { count: 0, paths: [] },
    lost: { count: 0, paths: [] },
    root: await attributesOf(folder),
    tree,
    packs,
    metadata: [...meta.sizes].map(([name, bytes]) => ({ name, bytes, used: bytes })),
    listAgeMs: 0,
    ...options.manifest,
  };
  const bytes = encodeSetEntry(manifest);
  const name = PREFIX + entryName(id);
  await put(blobs, name, bytes);
  return {
    manifest,
    sha256: sha256Of(bytes),
    entries,
    sizes,
    name,
    packsOf: (path) => [
      ...new Set(
        chunksOf(entries, path)
          .filter(isStored)
          .map(({ pack }) => PREFIX + PACKS + pack),
      ),
    ],
  };
}

/** What a writer leaves that takes the set over from the one of `after`; answers its id. */
export async function makeTakeover(blobs: Blobs, after: Made): Promise<string> {
  const { id: parent, key, set, process, writer, createdAt } = after.manifest;
  const entry: Takeover = {
    kind: 'takeover',
    id: nextId(parent),
    key,
    set,
    parent: { id: parent, sha256: after.sha256 },
    epoch: 'fedcba9876543210',
    process,
    writer,
    createdAt,
    adopts: null,
  };
  await put(blobs, PREFIX + entryName(entry.id), encodeSetEntry(entry));
  return entry.id;
}

function chunksOf(entries: readonly Entry[], path: string): readonly FileChunk[] {
  const entry = entries.find((one) => one.path === path);
  return entry?.type === 'file' ? entry.chunks : [];
}

async function put(blobs: Blobs, name: string, bytes: Uint8Array): Promise<void> {
  const type = { contentType: 'application/octet-stream' };
  await blobs.connect().create(name, bytes, type, new AbortController().signal);
}

async function attributesOf(path: string | Buffer) {
  const { mode, uid, gid } = await lstat(path);
  return { mode: mode & 0o7777, uid, gid };
}

interface OpenPacks {
  add(content: Uint8Array): Promise<StoredChunk>;
  close(): Promise<void>;
  readonly sizes: ReadonlyMap<string, number>;
}

function createPackWriter(blobs: Blobs, firstSeq: number) {
  let seq = firstSeq;
  const open = (kind: PackTableRow['kind'], packBytes: number, compress: boolean): OpenPacks => {
    const sizes = new Map<string, number>();
    let rows: PackTableRow[] = [];
    let parts: Uint8Array[] = [];
    let length = 0;
    const close = async () => {
      if (rows.length === 0) return;
      const bytes = Buffer.concat([...parts, encodePackEnd(rows)]);
      const name = packName(EPOCH, PROCESS, seq++);
      await put(blobs, PREFIX + PACKS + name, bytes);
      sizes.set(name, bytes.length);
      [rows, parts, length] = [[], [], 0];
    };
    return {
      sizes,
      close,
      async add(content) {
        if (length >= packBytes) await close();
        const frame = compress ? compressFrame(content) : content;
        const bytes = frame.length < content.length ? Buffer.from(frame) : content;
        const id = chunkIdOf(content, HASH);
        const [plain, stored, offset] = [content.length, bytes.length, length];
        rows.push({ id, kind, offset, stored, plain });
        parts.push(bytes);
        length += stored;
        return { id, plain, pack: packName(EPOCH, PROCESS, seq), offset, stored };
      },
    };
  };
  return { open, seq: () => seq };
}

async function entriesOf(
  folder: string,
  { chunkBytes }: Cut,
  packs: OpenPacks,
  knownOf: (path: string) => readonly FileChunk[],
): Promise<Entry[]> {
  const entries: Entry[] = [];
  const files = new Map<bigint, string>();
  const walk = async (at: Buffer, below: string): Promise<void> => {
    const names = await readdir(at, { encoding: 'buffer' });
    for (const name of names.toSorted((one, other) => Buffer.compare(one, other))) {
      const path = `${below}${decodePath(name)}`;
      if (isOwnPath(path)) continue;
      const full = Buffer.concat([at, Buffer.from('/'), name]);
      const stats = await lstat(full, { bigint: true });
      const { ino, nlink, mtimeNs } = stats;
      const attributes = { path, ...(await attributesOf(full)), mtimeNs };
      const target = files.get(ino);
      if (stats.isDirectory()) {
        entries.push({ type: 'directory', ...attributes });
        await walk(full, `${path}/`);
      } else if (stats.isSymbolicLink()) {
        const to = decodePath(await readlink(full, { encoding: 'buffer' }));
        entries.push({ type: 'symlink', ...attributes, target: to });
      } else if (target === undefined) {
        if (nlink > 1n) files.set(ino, path);
        const content = await readFile(full);
        const chunks = await chunksFor(content, chunkBytes, packs, knownOf(path));
        entries.push({ type: 'file', ...attributes, size: content.length, chunks });
      } else entries.push({ type: 'hardlink', path, target });
    }
  };
  await walk(Buffer.from(folder), '');
  return entries;
}

async function chunksFor(
  content: Buffer,
  chunkBytes: number,
  packs: OpenPacks,
  former: readonly FileChunk[],
): Promise<FileChunk[]> {
  const chunks: FileChunk[] = [];
  for (let at = 0; at < content.length; at += chunkBytes) {
    const piece = content.subarray(at, at + chunkBytes);
    const id = chunkIdOf(piece, HASH);
    const last = chunks.at(-1);
    const there = former.find((chunk) => isStored(chunk) && chunk.id === id && chunk.plain === piece.length);
    if (!isZero(piece)) chunks.push(there ?? (await packs.add(piece)));
    else if (last === undefined || isStored(last)) chunks.push({ plain: piece.length });
    else chunks[chunks.length - 1] = { plain: last.plain + piece.length };
  }
  return chunks;
}

async function putTree(entries: readonly Entry[], meta: OpenPacks): Promise<StoredChunk | null> {
  const rows: TreeEntry[] = [];
  for (const entry of entries) {
    if (entry.type !== 'file' || !isLong(entry.chunks)) {
      rows.push(entry);
      continue;
    }
    const lists: StoredChunk[] = [];
    for (const piece of chunkListPieces(entry.chunks)) lists.push(await meta.add(piece));
    const { chunks, ...file } = entry;
    rows.push({ ...file, lists, chunkCount: chunks.length });
  }
  return putLevels(cutLeaves(rows), meta);
}

async function putLevels(leaves: Iterable<Piece>, meta: OpenPacks): Promise<StoredChunk | null> {
  let level = leaves;
  for (;;) {
    const refs: ChildRef[] = [];
    for (const { first, bytes } of level) refs.push({ first, ref: await meta.add(bytes) });
    if (refs.length <= 1) return refs[0]?.ref ?? null;
    level = cutNodes(refs);
  }
}

function packUses(entries: readonly Entry[], sizes: ReadonlyMap<string, number>): readonly PackUse[] {
  const used = new Map<string, number>();
  for (const entry of entries) {
    if (entry.type !== 'file') continue;
    for (const chunk of entry.chunks.filter(isStored)) {
      used.set(chunk.pack, (used.get(chunk.pack) ?? 0) + chunk.stored);
    }
  }
  return [...used.keys()]
    .toSorted()
    .map((name) => ({ name, bytes: sizes.get(name) ?? 0, used: used.get(name) ?? 0 }));
}
