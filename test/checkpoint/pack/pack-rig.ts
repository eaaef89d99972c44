import { open } from 'node:fs/promises';
import { join } from 'node:path';

import { systemClock } from '../../../src/base/clock.ts';
import { isStored, seqsFor } from '../../../src/checkpoint/format/chunk.ts';
import type { FileChunk, HashSpec, StoredChunk } from '../../../src/checkpoint/format/chunk.ts';
import { decompressFrame } from '../../../src/checkpoint/format/zstd-frame.ts';
import { createPackSender } from '../../../src/checkpoint/pack/send-packs.ts';
import type {
  ItemResult,
  PackEvent,
  Sender,
  SenderOptions,
  SendItem,
} from '../../../src/checkpoint/pack/sender.ts';
import type { BlobStore } from '../../../src/checkpoint/store/store.ts';
import { testFolder } from '../../support/file-tree.ts';
import { createMemoryBlobs } from '../../support/memory-blobs.ts';
import type { BlobHooks, MemoryBlobs } from '../../support/memory-blobs.ts';

export const KIB = 1024;
export const MIB = 1024 ** 2;
export const PREFIX = 'p/key/sets/set/packs/';
export const CUT = { chunkBytes: 64 * KIB, packBytes: 512 * KIB };
export const HASH: HashSpec = { name: 'gmac-128', key: Buffer.alloc(16, 7).toString('base64') };
export const never = new AbortController().signal;

/** The opened folder of a set. */
export async function openRoot(path: string): Promise<AsyncDisposable & { readonly location: string }> {
  const handle = await open(path);
  return { location: `/proc/self/fd/${handle.fd}`, [Symbol.asyncDispose]: () => handle.close() };
}

export function senderOptions(location: string, change: Partial<SenderOptions> = {}): SenderOptions {
  return {
    packPrefix: PREFIX,
    location,
    hash: HASH,
    cut: CUT,
    compress: false,
    epoch: '0123456789abcdef',
    process: '01234567',
    ...change,
  };
}

export interface TestSender extends AsyncDisposable {
  readonly sender: Sender;
  readonly events: readonly PackEvent[];
  /** With as many numbers as it may need. */
  feed(this: void, items: readonly SendItem[], signal?: AbortSignal): Promise<readonly ItemResult[]>;
}

export function testSender(store: BlobStore, options: SenderOptions): TestSender {
  const events: PackEvent[] = [];
  const dependencies = { store, clock: systemClock, onPack: (event: PackEvent) => void events.push(event) };
  const sender = createPackSender(options, dependencies);
  return { ...withNumbers(sender, options), events };
}

function storedIn(events: readonly PackEvent[]): string[] {
  return events.flatMap(({ kind, name }) => (kind === 'stored' ? name : []));
}

export function withNumbers(sender: Sender, { cut }: SenderOptions) {
  let seq = 0;
  return {
    sender,
    feed: (items: readonly SendItem[], signal: AbortSignal = never) => {
      const bytes = items.reduce((sum, { from, to }) => sum + to - from, 0);
      return sender.feed(
        items,
        Array.from({ length: seqsFor(bytes, cut) }, () => ++seq),
        signal,
      );
    },
    [Symbol.asyncDispose]: () => sender.close(),
  };
}

export function whole(path: string, size: number, known: readonly FileChunk[] = []): SendItem {
  return { path, from: 0, to: size, size, known };
}

type Read = ItemResult & { readonly kind: 'read' };

export function readOf(result: ItemResult | undefined): Read {
  if (result?.kind !== 'read') throw new Error(`not read: ${JSON.stringify(result)}`);
  return result;
}

/** What the packs in the store hold for these chunks. */
export function contentOf(blobs: MemoryBlobs, chunks: readonly FileChunk[]): Buffer {
  return Buffer.concat(
    chunks.map((chunk) => (isStored(chunk) ? storedContent(blobs, chunk) : Buffer.alloc(chunk.plain))),
  );
}

export function storedContent(blobs: MemoryBlobs, { pack, offset, stored, plain }: StoredChunk): Uint8Array {
  const bytes = blobs.content(PREFIX + pack)?.subarray(offset, offset + stored);
  const content = bytes && (stored < plain ? decompressFrame(bytes, plain) : bytes);
  if (content === undefined) throw new Error(`there is no chunk at ${offset} of ${pack}`);
  return content;
}

/** Bytes that don't compress, another sequence for each seed. */
export function noise(bytes: number, seed = 1): Buffer {
  const words = new Uint32Array(Math.ceil(bytes / 4));
  let state = seed * 2654435761 + 1;
  for (let at = 0; at < words.length; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    words[at] = state ^ (state >>> 15);
  }
  return Buffer.from(words.buffer, 0, bytes);
}

/** A folder, and a sender of what is in it to a container in memory. */
export async function sendingRig(hooks: BlobHooks = {}, change: Partial<SenderOptions> = {}) {
  const stack = new AsyncDisposableStack();
  const folder = stack.use(await testFolder());
  const root = stack.use(await openRoot(folder.path));
  const blobs = createMemoryBlobs();
  const store = blobs.connect(hooks);
  const { sender, feed, events } = stack.use(testSender(store, senderOptions(root.location, change)));
  return {
    at: (path: string) => join(folder.path, path),
    blobs,
    store,
    sender,
    feed,
    events,
    stored: () => storedIn(events),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}
