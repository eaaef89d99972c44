import type { FileChunk, HashSpec, StoredChunk } from '../../src/checkpoint/format/chunk.ts';
import { isStored } from '../../src/checkpoint/format/chunk.ts';
import { chunkIdOf } from '../../src/checkpoint/format/chunk-id.ts';
import type { Entry } from '../../src/checkpoint/format/entry.ts';
import type { Manifest, PackUse, SetEntry, Takeover } from '../../src/checkpoint/format/manifest.ts';
import { encodeSetEntry, namedPaths, sha256Of } from '../../src/checkpoint/format/manifest-json.ts';
import type { SetPlace } from '../../src/checkpoint/format/names.ts';
import {
  entryName,
  newEpoch,
  newProcess,
  nextId,
  packName,
  setPrefix,
} from '../../src/checkpoint/format/names.ts';
import { encodePackEnd } from '../../src/checkpoint/format/pack-table.ts';
import { comparePaths } from '../../src/checkpoint/format/path-order.ts';
import type { Piece, TreeEntry } from '../../src/checkpoint/format/tree/tree.ts';
import {
  chunkListPieces,
  cutLeaves,
  cutNodes,
  cutPackUses,
  isLong,
} from '../../src/checkpoint/format/tree/tree.ts';
import { compressFrame } from '../../src/checkpoint/format/zstd-frame.ts';
import type { BlobStore } from '../../src/checkpoint/store/store.ts';

export const MADE_PLACE: SetPlace = { prefix: 'p', key: 'vm-1', set: 'job' };
export const MADE_HASH: HashSpec = { name: 'gmac-128', key: Buffer.alloc(16, 7).toString('base64') };

/** What a file holds; a number: so many zeros. */
export type MadeContent = string | Uint8Array | number;

export interface MadeOptions {
  readonly reason?: string;
  readonly isGuest?: boolean;
  readonly lost?: readonly string[];
  readonly changing?: readonly string[];
  readonly partial?: Manifest['partial'];
  readonly compress?: boolean;
  /** Of chunks of files: 1 MiB if not given. */
  readonly chunkBytes?: number;
  /** Links, and folders with attributes of their own. */
  readonly more?: readonly Entry[];
}

/**
 * Writes a set as the engine does, by the same rules, but made of what a test says. Files have their data in one pack
 * for each of their chunks, the tree is in one pack for each checkpoint.
 */
export interface MadeWriter {
  readonly epoch: string;
  takeOver(adopts?: Takeover['adopts']): Promise<string>;
  /** A pack with these chunks, which no manifest names yet. Answers its name. */
  stage(...contents: readonly string[]): Promise<string>;
  /** Sends what the checkpoint before doesn't have under the same path. */
  commit(files: Readonly<Record<string, MadeContent>>, options?: MadeOptions): Promise<Manifest>;
  /** The same, but that the manifest is still to be sent. */
  prepare(
    files: Readonly<Record<string, MadeContent>>,
    options?: MadeOptions,
  ): Promise<{ readonly manifest: Manifest; send(): Promise<string> }>;
}

/** The newest entry: writers of one set share it. */
export interface MadeLine {
  point: { readonly id: string; readonly sha256: string } | null;
}

interface OpenPack {
  readonly name: string;
  add(content: Uint8Array): StoredChunk;
  send(): Promise<void>;
}

export function createMadeWriter(
  store: BlobStore,
  options: {
    readonly place?: SetPlace;
    readonly line?: MadeLine;
    readonly epoch?: string;
    readonly vmName?: string;
  } = {},
): MadeWriter {
  const { place = MADE_PLACE, line = { point: null }, epoch = newEpoch(), vmName = 'vm-1' } = options;
  const prefix = setPrefix(place);
  const process = newProcess();
  const signal = new AbortController().signal;
  const packBytes = new Map<string, number>();
  let seq = -1;
  let known = new Map<string, readonly FileChunk[]>();
  let pieces = new Map<string, StoredChunk>();

  const openPack = (kind: 'data' | 'meta', compress = false): OpenPack => {
    const name = packName(epoch, process, ++seq);
    const bodies: Uint8Array[] = [];
    const chunks: StoredChunk[] = [];
    let offset = 0;
    return {
      name,
      add(content) {
        const frame = compress ? compressFrame(content) : content;
        const body = frame.length < content.length ? frame : content;
        const chunk = {
          id: chunkIdOf(content, MADE_HASH),
          plain: content.length,
          pack: name,
          offset,
          stored: body.length,
        };
        offset += body.length;
        bodies.push(body);
        chunks.push(chunk);
        return chunk;
      },
      async send() {
        if (bodies.length === 0) return;
        const end = encodePackEnd(
          chunks.map(({ id, offset: at, stored, plain }) => ({ id, kind, offset: at, stored, plain })),
        );
        const whole = Buffer.concat([...bodies, end]);
        packBytes.set(name, whole.length);
        await store.create(`${prefix}packs/${name}`, whole, BINARY, signal);
      },
    };
  };

  const chunksOf = async (
    path: string,
    content: MadeContent,
    { chunkBytes = 1024 ** 2, compress }: MadeOptions,
  ) => {
    if (typeof content === 'number') return [{ plain: content }];
    const bytes = Buffer.from(content);
    const before = (known.get(path) ?? []).filter(isStored);
    const chunks: FileChunk[] = [];
    for (let from = 0; from < bytes.length; from += chunkBytes) {
      const piece = bytes.subarray(from, from + chunkBytes);
      const id = chunkIdOf(piece, MADE_HASH);
      const found = before.find((chunk) => chunk.id === id);
      const pack = found === undefined ? openPack('data', compress) : undefined;
      const chunk = found ?? pack?.add(piece);
      if (chunk !== undefined) chunks.push(chunk);
      await pack?.send();
    }
    return chunks;
  };

  const send = async (entry: SetEntry): Promise<string> => {
    const body = encodeSetEntry(entry);
    const { outcome } = await store.create(prefix + entryName(entry.id), body, JSON_TYPE, signal);
    if (outcome !== 'created') throw new Error(`the entry ${entry.id} is taken`);
    line.point = { id: entry.id, sha256: sha256Of(body) };
    return entry.id;
  };

  const head = () => ({
    id: nextId(line.point?.id),
    key: place.key,
    set: place.set,
    parent: line.point,
    epoch,
    process,
    writer: { vmName, vmId: `id-of-${vmName}`, bootId: 'boot' },
    createdAt: '2026-01-01T00:00:00.000Z',
  });

  const writer: MadeWriter = {
    epoch,
    takeOver: (adopts = null) => send({ kind: 'takeover', ...head(), adopts }),
    async stage(...contents) {
      const pack = openPack('data');
      for (const content of contents) pack.add(Buffer.from(content));
      await pack.send();
      return pack.name;
    },
    async prepare(files, made = {}) {
      const content = new Map<string, readonly FileChunk[]>();
      for (const path of Object.keys(files)) content.set(path, await chunksOf(path, files[path] ?? '', made));
      const pack = openPack('meta', true);
      const reached = new Map<string, StoredChunk>();
      const put = (bytes: Uint8Array): StoredChunk => {
        const id = chunkIdOf(bytes, MADE_HASH);
        const chunk = reached.get(id) ?? pieces.get(id) ?? pack.add(bytes);
        reached.set(id, chunk);
        return chunk;
      };
      const entries = entriesOf(content, made.more ?? []);
      const tree = putTree(cutLeaves(entries.map((entry) => withLists(entry, put))), put);
      const packs = putTree(cutPackUses(usesOf([...content.values()].flat(), packBytes)), put);
      await pack.send();
      const counts = (...types: readonly Entry['type'][]) =>
        entries.filter(({ type }) => types.includes(type)).length;
      const manifest: Manifest = {
        kind: 'checkpoint',
        ...head(),
        hash: MADE_HASH,
        cut: { chunkBytes: made.chunkBytes ?? 1024 ** 2, packBytes: 8 * 1024 ** 2 },
        reason: made.reason ?? 'schedule',
        ...(made.isGuest === true && { guest: true }),
        seq,
        totals: {
          files: counts('file'),
          directories: counts('directory'),
          links: counts('symlink', 'hardlink'),
          bytes: entries.reduce((sum, entry) => sum + (entry.type === 'file' ? entry.size : 0), 0),
          bytesSent: 0,
        },
        changing: namedPaths(made.changing ?? []),
        lost: namedPaths(made.lost ?? []),
        ...(made.partial !== undefined && { partial: made.partial }),
        root: { mode: 0o755, uid: 0, gid: 0 },
        tree,
        packs,
        metadata: usesOf([...reached.values()], packBytes),
        listAgeMs: 0,
      };
      return {
        manifest,
        async send() {
          const id = await send(manifest);
          known = content;
          pieces = reached;
          return id;
        },
      };
    },
    async commit(files, made) {
      const prepared = await writer.prepare(files, made);
      await prepared.send();
      return prepared.manifest;
    },
  };
  return writer;
}

const BINARY = { contentType: 'application/octet-stream' };
const JSON_TYPE = { contentType: 'application/json' };
const ATTRIBUTES = { mode: 0o644, uid: 1000, gid: 1000, mtimeNs: 1_700_000_000_123_456_789n };

/** In order, with all folders that they are in. */
function entriesOf(files: ReadonlyMap<string, readonly FileChunk[]>, more: readonly Entry[]): Entry[] {
  const entries = new Map<string, Entry>(more.map((entry) => [entry.path, entry]));
  for (const [path, chunks] of files) {
    const size = chunks.reduce((sum, { plain }) => sum + plain, 0);
    entries.set(path, { type: 'file', path, ...ATTRIBUTES, size, chunks });
  }
  for (const path of entries.keys()) {
    for (let end = path.indexOf('/'); end !== -1; end = path.indexOf('/', end + 1)) {
      const folder = path.slice(0, end);
      if (!entries.has(folder))
        entries.set(folder, { type: 'directory', path: folder, ...ATTRIBUTES, mode: 0o755 });
    }
  }
  return [...entries.values()].sort((one, other) => comparePaths(one.path, other.path));
}

function withLists(entry: Entry, put: (bytes: Uint8Array) => StoredChunk): TreeEntry {
  if (entry.type !== 'file' || !isLong(entry.chunks)) return entry;
  const { chunks, ...file } = entry;
  return { ...file, lists: [...chunkListPieces(chunks)].map(put), chunkCount: chunks.length };
}

function putTree(leaves: Iterable<Piece>, put: (bytes: Uint8Array) => StoredChunk): StoredChunk | null {
  let level = [...leaves].map(({ first, bytes }) => ({ first, ref: put(bytes) }));
  while (level.length > 1)
    level = [...cutNodes(level)].map(({ first, bytes }) => ({ first, ref: put(bytes) }));
  return level[0]?.ref ?? null;
}

function usesOf(chunks: readonly FileChunk[], packBytes: ReadonlyMap<string, number>): PackUse[] {
  const uses = new Map<string, PackUse>();
  for (const chunk of new Set(chunks)) {
    if (!isStored(chunk)) continue;
    const used = (uses.get(chunk.pack)?.used ?? 0) + chunk.stored;
    uses.set(chunk.pack, { name: chunk.pack, bytes: packBytes.get(chunk.pack) ?? 0, used });
  }
  return [...uses.values()].sort((one, other) => (one.name < other.name ? -1 : 1));
}
