import type { Clock, MonotonicMs } from '../../base/clock.ts';
import type { EvictdError } from '../../base/errors.ts';
import type { FileChunk } from '../format/chunk.ts';
import type { Writer } from '../format/manifest.ts';
import type { SetPlace } from '../format/names.ts';
import type { LocalIndex } from '../index/local-index.ts';
import type { FileStat } from '../scan/file-stat.ts';
import type { SetFolder } from '../scan/set-folder.ts';
import type { SetOptions } from '../scan/set-options.ts';
import type { BlobStore } from '../store/store.ts';
import type { Workers } from '../worker/workers.ts';
import type { Ownership } from './own/ownership.ts';
import type { PackList } from './own/pack-list.ts';
import type { SetActivity, SetTracker } from './progress.ts';

/** What is the same for all works on a set. */
export interface SetContext {
  readonly place: SetPlace;
  /** `PREFIX/KEY/sets/SET/`. */
  readonly prefix: string;
  readonly set: SetOptions;
  readonly writer: Writer;
  /** 8 hex digits. */
  readonly process: string;
  readonly store: BlobStore;
  readonly workers: Workers;
  readonly clock: Clock;
  readonly tracker: SetTracker;
  readonly activity: SetActivity;
  /** Where packs go, when not to the set's own place: a rehearsal's. */
  readonly packPrefix: string;
  readonly onNote: (error: EvictdError) => void;
}

/** One work on a set, with its folder open; disposing it closes the folder. */
export interface SetWork extends SetContext, AsyncDisposable {
  readonly folder: SetFolder;
  readonly index: LocalIndex;
  readonly ownership: Ownership;
  readonly packs: PackList;
  /** Somebody has said that a set without files is as it should be. */
  readonly isEmptyMeant: boolean;
  /** When a file's newest stat, which it has not been read with yet, was seen for the first time. */
  readonly seen: Map<string, Seen>;
}

export interface Seen {
  readonly stat: FileStat;
  readonly at: MonotonicMs;
}

/** One consistent version of a file, which the store has or is about to have. */
export interface FileVersion {
  readonly stat: FileStat;
  readonly chunks: readonly FileChunk[];
}

/** By path: what was sent, or had been before. */
export type Versions = Map<string, FileVersion>;
