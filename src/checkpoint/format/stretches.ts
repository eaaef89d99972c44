import type { StoredChunk } from './chunk.ts';

/** Chunks near one another in a pack: read by one request. */
export interface Stretch<Item> {
  readonly pack: string;
  readonly offset: number;
  readonly bytes: number;
  /** In the order of where their chunks are. */
  readonly items: readonly Item[];
}

/** One request reads no more than this, but always a whole chunk. */
export const STRETCH_BYTES_MAX = 8 * 1024 ** 2;
/** What lies between two chunks and isn't wanted is read as well where that costs less time than a request. */
const GAP_BYTES_MAX = 256 * 1024;

/** As few requests as serve all `items`. */
export function* stretchesOf<Item extends { readonly chunk: StoredChunk }>(
  items: readonly Item[],
): Generator<Stretch<Item>> {
  let together: Item[] = [];
  let end = 0;
  const close = (first: StoredChunk): Stretch<Item> => {
    const { pack, offset } = first;
    return { pack, offset, bytes: end - offset, items: together };
  };
  for (const item of items.toSorted((one, other) => compareChunks(one.chunk, other.chunk))) {
    const { pack, offset, stored } = item.chunk;
    const first = together[0]?.chunk;
    const fits =
      first?.pack === pack &&
      offset <= end + GAP_BYTES_MAX &&
      offset + stored - first.offset <= STRETCH_BYTES_MAX;
    if (!fits) {
      if (first !== undefined) yield close(first);
      together = [];
      end = 0;
    }
    together.push(item);
    end = Math.max(end, offset + stored);
  }
  const [last] = together;
  if (last !== undefined) yield close(last.chunk);
}

/** By where they are. */
export function compareChunks(one: StoredChunk, other: StoredChunk): number {
  if (one.pack !== other.pack) return one.pack < other.pack ? -1 : 1;
  return one.offset - other.offset;
}
