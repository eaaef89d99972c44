import { forEachLimit } from '../../base/concurrency.ts';
import { hasCode } from '../../base/errors.ts';
import type { HashSpec, StoredChunk } from '../format/chunk.ts';
import { chunkIdOf } from '../format/chunk-id.ts';
import { decompressFrame } from '../format/zstd-frame.ts';
import type { BlobStore } from '../store/store.ts';

/** Chunks of one pack, near one another: read by one request. */
export interface Stretch {
  /** Blob name of the pack, from the container's root. */
  readonly pack: string;
  readonly offset: number;
  readonly bytes: number;
  readonly hash: HashSpec;
  /** In the order of their offsets. */
  readonly chunks: readonly StoredChunk[];
}

/** Reads chunks and answers indexes of those that are not what their ids say. Rejects with what the store rejects with. */
export type CheckStretch = (stretch: Stretch, signal: AbortSignal) => Promise<readonly number[]>;

const IN_FLIGHT = 6;
const STRETCH_BYTES_MAX = 8 * 1024 ** 2;
/** Reading so much for nothing costs less than another request. */
const GAP_BYTES_MAX = 128 * 1024;

/** Checks in this thread. */
export function createStretchCheck(store: Pick<BlobStore, 'read'>): CheckStretch {
  return async ({ pack, offset, bytes, hash, chunks }, signal) => {
    const content = await store.read(pack, { range: { offset, count: bytes }, bytesMax: bytes }, signal);
    return chunks.flatMap((chunk, index) => {
      const stored = content.subarray(chunk.offset - offset, chunk.offset - offset + chunk.stored);
      const plain = chunk.stored < chunk.plain ? decompressFrame(stored, chunk.plain) : stored;
      return plain !== undefined && chunkIdOf(plain, hash) === chunk.id ? [] : [index];
    });
  };
}

export interface CheckedChunk {
  /** Its index. */
  readonly chunk: number;
  /** `missing`: its pack has gone since it was listed, or is archived, or shorter than it was. */
  readonly outcome: 'good' | 'wrong' | 'missing';
}

/** Checks chunks, neighbours by one request. Rejects with what the store rejects with. */
export async function checkStretches(
  options: { readonly prefix: string; readonly hash: HashSpec; readonly chunks: readonly StoredChunk[] },
  check: CheckStretch,
  signal: AbortSignal,
): Promise<readonly CheckedChunk[]> {
  const checked: CheckedChunk[] = [];
  await forEachLimit(stretchesOf(options), IN_FLIGHT, signal, async ({ stretch, indexes }, inner) => {
    try {
      const wrong = new Set(await check(stretch, inner));
      for (const [at, chunk] of indexes.entries()) {
        checked.push({ chunk, outcome: wrong.has(at) ? 'wrong' : 'good' });
      }
    } catch (error) {
      if (!hasCode(error, 'not-found', 'archived', 'bad-answer')) throw error;
      for (const chunk of indexes) checked.push({ chunk, outcome: 'missing' });
    }
  });
  return checked;
}

function* stretchesOf({ prefix, hash, chunks }: Parameters<typeof checkStretches>[0]) {
  const sorted = [...chunks.entries()].sort(([, one], [, other]) =>
    one.pack < other.pack ? -1 : one.pack > other.pack ? 1 : one.offset - other.offset,
  );
  let indexes: number[] = [];
  let some: StoredChunk[] = [];
  let end = 0;
  const finish = (first: StoredChunk) => {
    const stretch: Stretch = {
      pack: prefix + first.pack,
      offset: first.offset,
      bytes: end - first.offset,
      hash,
      chunks: some,
    };
    return { stretch, indexes };
  };
  for (const [index, chunk] of sorted) {
    const [first] = some;
    const chunkEnd = chunk.offset + chunk.stored;
    const fits =
      chunk.pack === first?.pack &&
      chunk.offset - end <= GAP_BYTES_MAX &&
      chunkEnd - first.offset <= STRETCH_BYTES_MAX;
    if (first !== undefined && !fits) {
      yield finish(first);
      indexes = [];
      some = [];
    }
    end = fits ? Math.max(end, chunkEnd) : chunkEnd;
    indexes.push(index);
    some.push(chunk);
  }
  const [first] = some;
  if (first !== undefined) yield finish(first);
}
