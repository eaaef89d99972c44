/** Keyed hash of a chunk's content: 32 lower-case hex digits; see chunk-id.ts. */
export type ChunkId = string;
/** `<epoch>-<process>-<seq>`: the name of a pack below `packs/`; see pack-name.ts. */
export type PackName = string;

/** Content of a file that a pack holds. */
export interface StoredChunk {
  readonly id: ChunkId;
  /** Bytes of the file. */
  readonly plain: number;
  readonly pack: PackName;
  /** Byte offset in the pack. */
  readonly offset: number;
  /** Bytes in the pack; fewer than `plain`: a zstd frame. */
  readonly stored: number;
}

/** So many zeros, which nothing holds. */
export interface Hole {
  readonly plain: number;
}

/** In the order of the file, without gaps. */
export type FileChunk = StoredChunk | Hole;

export function isStored(chunk: FileChunk): chunk is StoredChunk {
  return 'pack' in chunk;
}

/** How chunk ids are made; chosen by the first writer of a set. */
export interface HashSpec {
  readonly name: 'gmac-128' | 'sha256-128';
  /** base64 of 16 bytes. */
  readonly key: string;
}

/** How a set's content is cut; chosen by its first writer. */
export interface Cut {
  readonly chunkBytes: number;
  readonly packBytes: number;
}

/** How many packs may be begun for so many bytes: each kind of file has a pack of its own, and one may be begun already. */
export function seqsFor(bytes: number, { packBytes }: Cut): number {
  return Math.ceil(bytes / (packBytes / 2)) + 3;
}
