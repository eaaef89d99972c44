import { createHash } from 'node:crypto';

const PIECE_BYTES = 1024 ** 2;

/** Tells blocks that hold nothing but zeros, such as the holes of a sparse file, without hashing them. */
export interface ZeroBlocks {
  /** The id of a block of `bytes` zeros. */
  idOf(bytes: number): string;
  /** At the speed of memory. */
  isZero(content: Uint8Array): boolean;
}

export function createZeroBlocks(): ZeroBlocks {
  const zeros = Buffer.alloc(PIECE_BYTES);
  // Nearly all blocks of all files have the same length; what ends a file is hashed anew.
  let last: { readonly bytes: number; readonly id: string } | undefined;
  return {
    idOf(bytes) {
      if (last?.bytes === bytes) return last.id;
      const hash = createHash('sha256');
      for (let at = 0; at < bytes; at += PIECE_BYTES) {
        hash.update(zeros.subarray(0, Math.min(PIECE_BYTES, bytes - at)));
      }
      const id = hash.digest('base64');
      if (bytes >= PIECE_BYTES) last = { bytes, id };
      return id;
    },
    isZero(content) {
      for (let at = 0; at < content.length; at += PIECE_BYTES) {
        const piece = content.subarray(at, at + PIECE_BYTES);
        if (zeros.compare(piece, 0, piece.length, 0, piece.length) !== 0) return false;
      }
      return true;
    },
  };
}
