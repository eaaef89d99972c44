import type { Clock } from '../base/clock.ts';
import type { FileIndex } from './file-index.ts';
import type { Reader } from './reader.ts';
import type { FileStat } from './file-stat.ts';
import type { BlobStore } from './store.ts';
import type { StoredBlob } from './stored-blobs.ts';
import type { Transfer } from './transfer.ts';
import type { WholeWrite } from './whole-write.ts';

export interface SendContext {
  /** The set's folder, as it is configured. */
  readonly root: string;
  /** Where it is, open. */
  readonly location: string;
  /** `PREFIX/KEY/SET/`. */
  readonly prefix: string;
  readonly store: BlobStore;
  readonly transfer: Transfer;
  readonly reader: Reader;
  readonly clock: Clock;
  readonly index: FileIndex;
  readonly blobOf: (path: string) => StoredBlob;
  /** `bytes` of the file, in total, are in the store. */
  readonly onStored: (path: string, bytes: number) => void;
  readonly onFileRead: () => void;
  readonly onRead: (bytes: number) => void;
  readonly onSent: (bytes: number) => void;
}

/** One consistent version of a file, all of whose blocks the store has. */
export interface FileVersion {
  readonly stat: FileStat;
  readonly blockSize: number;
  readonly blocks: readonly string[];
}

export interface SendMode {
  /** Asked at each block: true ends the work early, keeping what was sent. */
  readonly stop: () => boolean;
  /** How often a file that changes while it is read is read. */
  readonly readsMax: number;
  /** What then: `leave` it for later, or `fail`. */
  readonly changing: 'leave' | 'fail';
  /** Where given, a file of one block goes by it in one request instead of being staged. */
  readonly put?: (blob: StoredBlob, id: string, body: Uint8Array, signal: AbortSignal) => Promise<void>;
  /** The same for several small files at once. Answers which of them are written; the others are to go by `put`. */
  readonly putTogether?: (writes: readonly WholeWrite[], signal: AbortSignal) => Promise<readonly boolean[]>;
}
