import { createBlockHash } from './block-id.ts';

const PIECE_BYTES = 1024 ** 2;
/** All block sizes there are. */
const LENGTHS_MAX = 16;

/** Answers the id of a block of so many zeros, such as a sparse file has in its holes. */
export type ZeroIds = (bytes: number) => string;

export function createZeroIds(hashKey: string): ZeroIds {
  const zeros = Buffer.alloc(PIECE_BYTES);
  const known = new Map<number, string>();
  return (bytes) => {
    const before = known.get(bytes);
    if (before !== undefined) return before;
    const hash = createBlockHash(hashKey);
    for (let at = 0; at < bytes; at += PIECE_BYTES) {
      hash.update(zeros.subarray(0, Math.min(PIECE_BYTES, bytes - at)));
    }
    const id = hash.digest();
    // What ends a file has a length of its own, which will hardly come again.
    if (Number.isInteger(Math.log2(bytes)) && known.size < LENGTHS_MAX) known.set(bytes, id);
    return id;
  };
}
