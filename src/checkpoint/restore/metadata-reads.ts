import type { BlobStore } from '../store/store.ts';

/** Pieces of a tree lie side by side in their packs: what is around one is most often asked for next. */
const STRETCH_BYTES = 512 * 1024;
const STRETCHES_MAX = 32;

/**
 * A store that reads ranges of the blobs of `sizes` (by their names) in stretches of 512 KiB, and keeps 16 MiB of them, so
 * that thousands of pieces cost some requests, also when they are read twice. All else goes to `store`.
 */
export function readAround(store: BlobStore, sizes: ReadonlyMap<string, number>): BlobStore {
  /** The one that was used last is at the end. */
  const known = new Map<string, Promise<Uint8Array>>();
  const stretch = (name: string, index: number, size: number, signal: AbortSignal): Promise<Uint8Array> => {
    const key = `${index} ${name}`;
    const offset = index * STRETCH_BYTES;
    const count = Math.min(STRETCH_BYTES, size - offset);
    const read = known.get(key) ?? store.read(name, { range: { offset, count }, bytesMax: count }, signal);
    known.delete(key);
    known.set(key, read);
    read.catch(() => known.delete(key));
    for (const oldest of known.keys()) {
      if (known.size <= STRETCHES_MAX) break;
      known.delete(oldest);
    }
    return read;
  };
  return {
    ...store,
    async read(name, options, signal) {
      const { range } = options;
      const size = sizes.get(name);
      if (range === undefined || size === undefined || range.offset + range.count > size)
        return store.read(name, options, signal);
      const first = Math.floor(range.offset / STRETCH_BYTES);
      const last = Math.floor((range.offset + range.count - 1) / STRETCH_BYTES);
      const indexes = Array.from({ length: last - first + 1 }, (_, at) => first + at);
      const read = await Promise.all(indexes.map((index) => stretch(name, index, size, signal)));
      const from = range.offset - first * STRETCH_BYTES;
      return Uint8Array.from(Buffer.concat(read).subarray(from, from + range.count));
    },
  };
}
