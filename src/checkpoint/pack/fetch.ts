import type { HashSpec, StoredChunk } from '../format/chunk.ts';

/** A stretch of one pack, fetched by one request, and where its chunks go. */
export interface FetchOrder {
  /** Blob name of the pack, from the container's root. */
  readonly pack: string;
  readonly offset: number;
  readonly bytes: number;
  readonly hash: HashSpec;
  /** In the order of their offsets. */
  readonly chunks: readonly Placement[];
}

/** One chunk of the stretch. The same chunk may be wanted at several places: then it is there several times. */
export interface Placement {
  readonly chunk: StoredChunk;
  /** An open file, and the byte in it where the chunk begins. */
  readonly fd: number;
  readonly position: number;
}

/** Indexes into `chunks` of those that were not what they should be; they are not written. */
export interface FetchResult {
  readonly wrong: readonly number[];
}
