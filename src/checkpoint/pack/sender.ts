import type { EvictdError } from '../../base/errors.ts';
import type { Cut, FileChunk, HashSpec, PackName, StoredChunk } from '../format/chunk.ts';
import type { FileStat } from '../scan/file-stat.ts';

/*
 * Reads files, cuts them into chunks, finds out which of those are new, and sends those in packs, all in one thread:
 * content never leaves it. send-packs.ts is the implementation; in the program it is asked by messages, see worker/.
 *
 * INVARIANTS
 * - A pack's bytes don't change from its first try until every try has ended.
 * - Every pack that was begun is told of exactly once by `onPack`, as stored or as failed, or was never sent at all.
 * - What is answered of an item is true of the bytes that were read, whatever the file is by then.
 */
export interface SenderOptions {
  /** `PREFIX/KEY/sets/SET/packs/`. */
  readonly packPrefix: string;
  /** Where the set's open folder is, for node:fs: `/proc/self/fd/N`. */
  readonly location: string;
  readonly hash: HashSpec;
  readonly cut: Cut;
  readonly compress: boolean;
  /** Names of packs are `<epoch>-<process>-<seq>`. */
  readonly epoch: string;
  readonly process: string;
}

export interface Sender {
  /**
   * Reads `items` one after the other and puts what is new into packs. Resolves once all is read; packs that are full go
   * out meanwhile, and when too many are under way it waits for them. `seqs` are numbers for packs that may be begun:
   * `seqsFor` of the bytes says how many. Rejects with the signal's reason, or once a pack has failed with what it failed with.
   */
  feed(
    items: readonly SendItem[],
    seqs: readonly number[],
    signal: AbortSignal,
  ): Promise<readonly ItemResult[]>;
  /**
   * Puts pieces of metadata (trees and tables) into packs of their own, each compressed where that saves enough.
   * Answers where each is, in order. Rejects as `feed` does.
   */
  putPieces(
    pieces: readonly Uint8Array[],
    seqs: readonly number[],
    signal: AbortSignal,
  ): Promise<readonly StoredChunk[]>;
  /** Begins to send packs that aren't full as well. Rejects as `feed` does. */
  seal(signal: AbortSignal): Promise<void>;
  /** Does the same, and waits for all. Rejects with the first failure, or the signal's reason. */
  flush(signal: AbortSignal): Promise<void>;
  /** Forgets what isn't sent yet (its items are told as `dropped` by nobody: the caller knows them by their packs); waits for the others. */
  drop(signal: AbortSignal): Promise<readonly PackName[]>;
  /** Frees its memory. What is under way is aborted. */
  close(): Promise<void>;
}

/** A file, or a range of a large one. */
export interface SendItem {
  /** Relative to the set. */
  readonly path: string;
  /** Byte range, from a multiple of the chunk size to another or to the end of the file. */
  readonly from: number;
  readonly to: number;
  /** The file is (at least) so long: decides whether it goes with the small ones. */
  readonly size: number;
  /** Of the former version, chunk by chunk from `from` on: those that needn't be stored again. Shorter where it was. */
  readonly known: readonly FileChunk[];
}

export type ItemResult =
  | {
      readonly kind: 'read';
      /** Of the open file before and after it was read. */
      readonly before: FileStat;
      readonly after: FileStat;
      /** It has no name any more by now. */
      readonly isUnlinked: boolean;
      /** Monotonic, when the reading began. */
      readonly beganAt: number;
      /** What the range holds; ends early where the file did. Those that were `known` are those of `known`. */
      readonly chunks: readonly FileChunk[];
      /** Packs that new chunks are in: they count once `onPack` says `stored`. */
      readonly packs: readonly PackName[];
      /** Bytes of chunks that are new. */
      readonly bytesNew: number;
    }
  /** It isn't there any more, or is no regular file now. */
  | { readonly kind: 'gone' }
  /** The system's error, of this item alone. */
  | { readonly kind: 'failed'; readonly errno: string; readonly message: string };

export type PackEvent =
  | { readonly kind: 'began'; readonly name: PackName; readonly bytes: number }
  | {
      readonly kind: 'stored';
      readonly name: PackName;
      readonly bytes: number;
      readonly tookMs: number;
      readonly isVersioned: boolean;
    }
  | { readonly kind: 'failed'; readonly name: PackName; readonly error: EvictdError };
