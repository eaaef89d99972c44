import type { HashSpec, StoredChunk } from '../format/chunk.ts';
import type { FileEntry } from '../format/entry.ts';
import type { FetchOrder } from '../pack/fetch.ts';

/** A chunk that has to be fetched, and where it goes. */
export interface Wish {
  readonly entry: FileEntry;
  /** Of the chunk in its file. */
  readonly index: number;
  readonly chunk: StoredChunk;
  readonly fd: number;
  readonly position: number;
}

export interface Planned {
  readonly order: FetchOrder;
  /** Those of `order.chunks`. */
  readonly wishes: readonly Wish[];
}

/** One request fetches no more than this, but always a whole chunk. */
export const ORDER_BYTES_MAX = 8 * 1024 ** 2;
/** What lies between two chunks and isn't wanted is fetched as well where that costs less time than a request. */
const GAP_BYTES_MAX = 256 * 1024;

/** As few requests as serve all `wishes`. `packPrefix`: `PREFIX/KEY/sets/SET/packs/`. */
export function planOrders(
  wishes: readonly Wish[],
  { packPrefix, hash }: { readonly packPrefix: string; readonly hash: HashSpec },
): readonly Planned[] {
  const planned: Planned[] = [];
  let together: Wish[] = [];
  let end = 0;
  const close = () => {
    const [first] = together;
    if (first === undefined) return;
    const { pack, offset } = first.chunk;
    // All of it is copied to a thread: not more than it takes.
    const chunks = together.map(({ chunk, fd, position }) => ({ chunk, fd, position }));
    const order = { pack: packPrefix + pack, offset, bytes: end - offset, hash, chunks };
    planned.push({ order, wishes: together });
    together = [];
  };
  for (const wish of wishes.toSorted((one, other) => compareChunks(one.chunk, other.chunk))) {
    const { pack, offset, stored } = wish.chunk;
    const first = together[0]?.chunk;
    const fits =
      first?.pack === pack &&
      offset <= end + GAP_BYTES_MAX &&
      offset + stored - first.offset <= ORDER_BYTES_MAX;
    if (!fits) {
      close();
      end = 0;
    }
    together.push(wish);
    end = Math.max(end, offset + stored);
  }
  close();
  return planned;
}

/** By where they are. */
export function compareChunks(one: StoredChunk, other: StoredChunk): number {
  if (one.pack !== other.pack) return one.pack < other.pack ? -1 : 1;
  return one.offset - other.offset;
}
