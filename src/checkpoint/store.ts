import type { EvictdError } from '../base/errors.ts';
import type { Reader } from './reader.ts';

/**
 * What the checkpoint engine needs of a blob service. Contract for every implementation:
 * each call is bounded by its signal and by a time of its own, retries what is worth retrying inside the signal,
 * and otherwise rejects with an EvictdError whose code is a `StoreErrorCode`.
 */
export interface BlobStore {
  /** For people: account and container, never a secret. */
  readonly describe: string;
  /** The content of files is stored compressed, though it goes in as it is; see zstd-store.ts. */
  readonly zstd?: boolean;
  /**
   * Blobs below `prefix` in name order; committed ones only. With `snapshots`, these as well; with `uncommitted`, also
   * names that have staged blocks and nothing else.
   */
  list(prefix: string, signal: AbortSignal, options?: ListOptions): AsyncIterable<BlobItem>;
  /** The whole blob or snapshot, or `range` of it, at most `bytesMax` bytes. Rejects `not-found`. */
  read(name: string, options: ReadOptions, signal: AbortSignal): Promise<Uint8Array>;
  /**
   * Writes a part of a blob or snapshot into an open file and checks it. Answers the first of its blocks that is not
   * what it should be; what was written then is of no use. Once this settles, the file isn't touched any more.
   * Rejects `not-found`, or the system's error of a write.
   */
  download(name: string, options: DownloadOptions, signal: AbortSignal): Promise<number | undefined>;
  /** Committed and uncommitted blocks; undefined when there is neither. */
  blocks(name: string, signal: AbortSignal): Promise<BlockList | undefined>;
  /** Content is to be sent soon: begins what takes time to be ready for that. */
  expectWrites?(): void;
  /** Put Block. `id` is base64; the same id may be sent again and means the same content. */
  stageBlock(name: string, id: string, body: Uint8Array, signal: AbortSignal): Promise<void>;
  /** Put Block List: makes `ids` the blob's content. Rejects `conflict` when `condition` doesn't hold, `missing-block`. */
  commitBlocks(
    name: string,
    ids: readonly string[],
    write: WriteOptions,
    signal: AbortSignal,
  ): Promise<Written>;
  /** Put Blob: a small blob in one request. Drops the blob's staged blocks. Rejects `conflict`. */
  put(name: string, body: Uint8Array, write: WriteOptions, signal: AbortSignal): Promise<Written>;
  /**
   * Several small blobs at once, each as by `put`, for less work than one by one; `common` goes for all of them. Answers
   * for each in its place what `put` would, or what it would reject with. Absent where nothing is gained by it.
   */
  putTogether?(
    writes: readonly SmallWrite[],
    common: Omit<WriteOptions, 'condition'>,
    signal: AbortSignal,
  ): Promise<readonly (Written | EvictdError)[]>;
  /** Snapshot Blob of exactly the version `etag`; answers the snapshot's id. Rejects `conflict`. */
  snapshot(name: string, etag: string, signal: AbortSignal): Promise<string>;
  /** ETag and metadata of the current blob; undefined when there is none. */
  head(name: string, signal: AbortSignal): Promise<BlobHead | undefined>;
  /** Deletes a snapshot, or the blob with all its snapshots; a missing one is no error. */
  remove(name: string, options: { snapshot?: string; ifEtag?: string }, signal: AbortSignal): Promise<void>;
}

export interface ListOptions {
  readonly snapshots: boolean;
  readonly uncommitted?: boolean;
}

export interface BlobItem {
  readonly name: string;
  /** Of a snapshot its id. */
  readonly snapshot?: string;
  readonly etag: string;
  readonly bytes: number;
  /** Epoch ms by the server's clock. */
  readonly modifiedAt: number;
}

export interface ReadOptions {
  readonly snapshot?: string;
  /** Byte offset and count. */
  readonly range?: { readonly offset: number; readonly count: number };
  /** Larger answers are refused (`too-large`). */
  readonly bytesMax: number;
}

export interface DownloadOptions {
  readonly snapshot: string;
  /** In the blob as in the file. */
  readonly offset: number;
  readonly fd: number;
  /** Of the blocks that follow each other from there: what they should be, and their bytes. */
  readonly blocks: readonly string[];
  readonly lengths: readonly number[];
  /** With which the blocks' ids were made. */
  readonly hashKey: string;
  /** Who does it. */
  readonly reader: Pick<Reader, 'run'>;
}

export interface BlockList {
  /** ETag of the committed blob; undefined when there are only staged blocks. */
  readonly etag: string | undefined;
  readonly committed: readonly StoredBlock[];
  readonly uncommitted: readonly StoredBlock[];
}

export interface StoredBlock {
  readonly id: string;
  readonly bytes: number;
}

/** `none`: the blob must not exist yet. An ETag: it must still be this version. */
export type WriteCondition = { readonly ifEtag: string } | { readonly ifNone: true };

export interface WriteOptions {
  readonly condition: WriteCondition;
  /** Replaces what the blob had; names are C# identifiers, values ASCII. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly contentType: string;
  readonly contentEncoding?: 'zstd';
  /** What is written is to have a snapshot, where that comes at once. */
  readonly snapshot?: boolean;
}

export interface SmallWrite extends Pick<WriteOptions, 'condition' | 'metadata'> {
  readonly name: string;
  readonly body: Uint8Array;
}

export interface Written {
  readonly etag: string;
  /** Bytes of each block's zstd frame, in order; undefined for content that is stored as it is. */
  readonly zstd?: readonly number[];
  /** Of just what was written. Undefined also where one was wished for. */
  readonly snapshot?: string;
}

export interface BlobHead {
  readonly etag: string;
  readonly metadata: Readonly<Record<string, string>>;
}

export type StoreErrorCode =
  /** 412 or 409 on a condition: somebody else wrote the blob. Not retryable. */
  | 'conflict'
  /** 400 InvalidBlockList: a block that should be there has expired or was discarded. */
  | 'missing-block'
  | 'not-found'
  | 'container-not-found'
  /** 401: token or signature not accepted. */
  | 'unauthenticated'
  /** 403: known, but not allowed; after a role assignment it may take minutes to go away. */
  | 'forbidden'
  /** No token from the identity endpoint. */
  | 'no-token'
  | 'throttled'
  | 'unavailable'
  | 'network'
  | 'timeout'
  | 'too-large'
  /** The answer can't be understood. */
  | 'bad-answer'
  | 'refused'
  | 'aborted';
