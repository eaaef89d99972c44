import { forEachLimit } from '../../base/concurrency.ts';
import { hasCode } from '../../base/errors.ts';
import type { HashSpec, StoredChunk } from '../format/chunk.ts';
import { contentOf } from '../format/chunk-id.ts';
import { stretchesOf } from '../format/stretches.ts';
import type { BlobStore } from '../store/store.ts';

/** A stretch of a pack to be checked. */
export interface StretchOrder {
  /** Blob name of the pack, from the container's root. */
  readonly pack: string;
  readonly offset: number;
  readonly bytes: number;
  readonly hash: HashSpec;
  /** In the order of their offsets. */
  readonly chunks: readonly StoredChunk[];
}

/** Reads chunks and answers indexes of those that are not what their ids say. Rejects with what the store rejects with. */
export type CheckStretch = (stretch: StretchOrder, signal: AbortSignal) => Promise<readonly number[]>;

const IN_FLIGHT = 6;

/** Checks in this thread. */
export function createStretchCheck(store: Pick<BlobStore, 'read'>): CheckStretch {
  return async ({ pack, offset, bytes, hash, chunks }, signal) => {
    const content = await store.read(pack, { range: { offset, count: bytes }, bytesMax: bytes }, signal);
    return chunks.flatMap((chunk, index) => {
      const stored = content.subarray(chunk.offset - offset, chunk.offset - offset + chunk.stored);
      return contentOf(stored, chunk, hash) === undefined ? [index] : [];
    });
  };
}

/** `missing`: its pack has gone since it was listed, or is archived, or shorter than it was. */
export type CheckOutcome = 'good' | 'wrong' | 'missing';

export interface CheckOptions {
  /** `PREFIX/KEY/sets/SET/packs/`. */
  readonly packPrefix: string;
  readonly hash: HashSpec;
  readonly check: CheckStretch;
}

/** Checks chunks, neighbours by one request. Rejects with what the store rejects with. */
export async function checkChunks<Item extends { readonly chunk: StoredChunk }>(
  all: readonly Item[],
  { packPrefix, hash, check }: CheckOptions,
  onChecked: (item: Item, outcome: CheckOutcome) => void,
  signal: AbortSignal,
): Promise<void> {
  await forEachLimit(stretchesOf(all), IN_FLIGHT, signal, async ({ items, ...stretch }, inner) => {
    const chunks = items.map(({ chunk }) => chunk);
    try {
      const order = { ...stretch, pack: packPrefix + stretch.pack, hash, chunks };
      const wrong = new Set(await check(order, inner));
      for (const [index, item] of items.entries()) onChecked(item, wrong.has(index) ? 'wrong' : 'good');
    } catch (error) {
      if (!hasCode(error, 'not-found', 'archived', 'bad-answer')) throw error;
      for (const item of items) onChecked(item, 'missing');
    }
  });
}
