import { hash } from 'node:crypto';

import { AssertionFailed } from '../base/assert.ts';
import { EvictdError } from '../base/errors.ts';
import { BLOCK_ID_BYTES } from './block-id.ts';
import { BLOCK_BYTES_DEFAULT } from './block-size.ts';
import type { Reader } from './reader.ts';
import type { BlobStore, BlockList, WriteOptions, Written } from './store.ts';
import { frameBytesMax } from './zstd-frame.ts';

export interface ZstdStoreOptions {
  /** Only blobs below it are compressed. */
  readonly prefix: string;
}

export interface ZstdStoreDependencies {
  readonly store: BlobStore;
  readonly reader: Pick<Reader, 'run'>;
  /** So many bytes fewer were sent than went in; negative for content that doesn't get smaller. */
  readonly onSaved: (bytes: number) => void;
}

/** Memory for the frames of common blocks is used again; the garbage collector would leave too much of it lying about. */
const SPARE_BYTES = frameBytesMax(BLOCK_BYTES_DEFAULT);
const SPARE_BYTES_MIN = BLOCK_BYTES_DEFAULT / 2;

/**
 * `store` with compressed blocks: each is a zstd frame of its own, and frames one after the other are what `zstd -d`
 * reads, so the blob keeps its name and says `Content-Encoding: zstd`.
 *
 * A block's id stands for its content and for the way it is stored: it is the content's hash under a mask that only
 * compressed blocks have. So delta works as without, and blocks of a blob that was stored in the other way don't match
 * any. What comes in and goes out here are ids of content.
 */
export function createZstdStore(
  { prefix }: ZstdStoreOptions,
  { store, reader, onSaved }: ZstdStoreDependencies,
): BlobStore {
  const spare: SharedArrayBuffer[] = [];
  const compress = async (content: Uint8Array, memory?: SharedArrayBuffer): Promise<Uint8Array> => {
    const result = await reader.run({ kind: 'compress', content, memory });
    if (result.kind !== 'compressed') throw new AssertionFailed(`content was compressed to ${result.kind}`);
    return result.content;
  };
  const isPlain = (name: string) => !name.startsWith(prefix);
  return {
    describe: store.describe,
    zstd: true,
    list: (below, signal, options) => store.list(below, signal, options),
    read: (name, options, signal) => store.read(name, options, signal),
    download: (name, options, signal) => store.download(name, options, signal),
    snapshot: (name, etag, signal) => store.snapshot(name, etag, signal),
    remove: (name, options, signal) => store.remove(name, options, signal),
    async head(name, signal) {
      const found = await store.head(name, signal);
      if (found === undefined || isPlain(name)) return found;
      return { ...found, metadata: maskContentId(found.metadata) };
    },
    async blocks(name, signal) {
      const list = await store.blocks(name, signal);
      return list === undefined || isPlain(name) ? list : unmasked(list);
    },
    async stageBlock(name, id, body, signal) {
      if (isPlain(name)) return store.stageBlock(name, id, body, signal);
      const isCommonSize = body.length > SPARE_BYTES_MIN && body.length <= BLOCK_BYTES_DEFAULT;
      const memory = isCommonSize ? (spare.pop() ?? new SharedArrayBuffer(SPARE_BYTES)) : undefined;
      const frame = await compress(body, memory);
      await store.stageBlock(name, maskId(id), frame, signal);
      onSaved(body.length - frame.length);
      // Not that of a failed request, which may go on for a moment.
      if (memory !== undefined) spare.push(memory);
      return undefined;
    },
    async commitBlocks(name, ids, write, signal) {
      if (isPlain(name)) return store.commitBlocks(name, ids, write, signal);
      const written = await store.commitBlocks(name, ids.map(maskId), compressed(write), signal);
      return { ...written, zstd: await frameBytes(store, name, ids, written, signal) };
    },
    async put(name, body, write, signal) {
      // Nothing can't be cut into frames.
      if (isPlain(name) || body.length === 0) return store.put(name, body, write, signal);
      const frame = await compress(body);
      const written = await store.put(name, frame, compressed(write), signal);
      onSaved(body.length - frame.length);
      return { ...written, zstd: [frame.length] };
    },
  };
}

/**
 * How long the frames in the blob are. Asked for after the commit, since a frame that an earlier process or another
 * version of the library left there can have another length than ours.
 */
async function frameBytes(
  store: BlobStore,
  name: string,
  ids: readonly string[],
  { etag }: Written,
  signal: AbortSignal,
): Promise<readonly number[]> {
  const list = await store.blocks(name, signal);
  const bytes = new Map(list?.committed.map((block) => [maskId(block.id), block.bytes]));
  if (list?.etag !== etag || ids.some((id) => !bytes.has(id))) {
    throw new EvictdError('conflict', `${name} was written by somebody else after it was committed`);
  }
  return ids.map((id) => bytes.get(id) ?? 0);
}

function unmasked(list: BlockList): BlockList {
  const all = (blocks: BlockList['committed']) => blocks.map(({ id, bytes }) => ({ id: maskId(id), bytes }));
  return { etag: list.etag, committed: all(list.committed), uncommitted: all(list.uncommitted) };
}

function compressed(write: WriteOptions): WriteOptions {
  return { ...write, metadata: maskContentId(write.metadata), contentEncoding: 'zstd' };
}

function maskContentId(metadata: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const id = metadata['evictd_content'];
  return id === undefined ? metadata : { ...metadata, evictd_content: maskId(id) };
}

const MASK = hash('sha256', 'zstd', 'buffer').subarray(0, BLOCK_ID_BYTES);

/** There and back. */
function maskId(id: string): string {
  const bytes = Buffer.from(id, 'base64');
  for (const [index, byte] of MASK.entries()) bytes[index] = (bytes[index] ?? 0) ^ byte;
  return bytes.toString('base64');
}
