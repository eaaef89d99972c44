import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import type { FileChunk, HashSpec, StoredChunk } from '../../../src/checkpoint/format/chunk.ts';
import { chunkIdOf, isZero } from '../../../src/checkpoint/format/chunk-id.ts';
import type { Entry } from '../../../src/checkpoint/format/entry.ts';
import type { Manifest } from '../../../src/checkpoint/format/manifest.ts';
import { encodeSetEntry } from '../../../src/checkpoint/format/manifest-json.ts';
import { entryName, packName, PACKS } from '../../../src/checkpoint/format/names.ts';
import { encodePackEnd } from '../../../src/checkpoint/format/pack-table.ts';
import type { PackTableRow } from '../../../src/checkpoint/format/pack-table.ts';
import { compressFrame } from '../../../src/checkpoint/format/zstd-frame.ts';
import { EPOCH, PROCESS, putTree } from './tree-rig.ts';

export const CHUNK_BYTES = 4096;

/** A pack that is being filled. */
function createPack(seq: number, kind: 'data' | 'meta', { hash, compress }: SetWriterOptions) {
  const name = packName(EPOCH, PROCESS, seq);
  const contents: Uint8Array[] = [];
  const rows: PackTableRow[] = [];
  let offset = 0;
  return {
    name,
    put: (content: Uint8Array): StoredChunk => {
      const frame = compress ? compressFrame(content) : content;
      const stored = frame.length < content.length ? frame : content;
      const row = { id: chunkIdOf(content, hash), offset, stored: stored.length, plain: content.length };
      rows.push({ ...row, kind });
      contents.push(stored);
      offset += stored.length;
      return { ...row, pack: name };
    },
    body: () => Buffer.concat([...contents, encodePackEnd(rows)]),
  };
}

export interface SetWriterOptions {
  readonly hash: HashSpec;
  readonly compress: boolean;
}

export interface Content {
  readonly entries: readonly Entry[];
  readonly files: ReadonlyMap<string, Buffer>;
}

export function manifestOf(
  id: string,
  hash: HashSpec,
  tree: StoredChunk | null,
  changes: Partial<Manifest> = {},
): Manifest {
  const none = { count: 0, paths: [] };
  return {
    kind: 'checkpoint',
    id,
    key: 'vm-1',
    set: 'data',
    parent: null,
    epoch: EPOCH,
    process: PROCESS,
    writer: { vmName: 'vm-1', vmId: 'id', bootId: 'boot' },
    createdAt: '2026-01-01T00:00:00.000Z',
    reason: 'notice',
    hash,
    cut: { chunkBytes: CHUNK_BYTES, packBytes: 2 ** 23 },
    seq: 2,
    totals: { files: 1, directories: 0, links: 0, bytes: 0, bytesSent: 0 },
    changing: none,
    lost: none,
    root: { mode: 0o710, uid: 0, gid: 0 },
    tree,
    packs: null,
    metadata: [],
    listAgeMs: 0,
    ...changes,
  };
}

/** Adds a checkpoint to the set in `folder`, as `azcopy` would leave it. `leaf`: what the tree consists of instead. */
export async function writeSet(
  folder: string,
  id: string,
  { entries, files }: Content,
  options: SetWriterOptions,
  leaf?: Buffer,
): Promise<void> {
  const data = createPack(Number(id) * 2, 'data', options);
  const meta = createPack(Number(id) * 2 + 1, 'meta', options);
  const withChunks = entries.map((entry) => {
    const content = files.get(entry.path);
    if (entry.type !== 'file' || content === undefined) return entry;
    const chunks: FileChunk[] = [];
    for (let at = 0; at < content.length; at += CHUNK_BYTES) {
      const chunk = content.subarray(at, at + CHUNK_BYTES);
      chunks.push(isZero(chunk) ? { plain: chunk.length } : data.put(chunk));
    }
    return { ...entry, size: content.length, chunks };
  });
  const tree = leaf === undefined ? putTree(withChunks, meta.put) : meta.put(leaf);
  for (const { name, body } of [data, meta]) await put(folder, `${PACKS}${name}`, body());
  await put(folder, entryName(id), encodeSetEntry(manifestOf(id, options.hash, tree)));
}

export async function put(folder: string, name: string, body: Uint8Array): Promise<void> {
  await mkdir(join(folder, name, '..'), { recursive: true });
  await writeFile(join(folder, name), body);
}
