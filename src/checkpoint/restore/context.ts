import type { BigIntStats } from 'node:fs';

import type { Gate } from '../../base/concurrency.ts';
import type { HashSpec } from '../format/chunk.ts';
import type { FileEntry } from '../format/entry.ts';
import type { Workers } from '../worker/workers.ts';
import type { Disk } from './target/disk.ts';
import type { PlaceContext } from './target/place-entries.ts';

/** What threads do for a restore. */
export type RestoreWorkers = Pick<Workers, 'fetch' | 'compare'>;

/** What all that is done for files has in common. */
export interface FilesContext extends PlaceContext {
  readonly workers: RestoreWorkers;
  /** `PREFIX/KEY/sets/SET/packs/`. */
  readonly packPrefix: string;
  readonly hash: HashSpec;
  /** Bounds requests and their bytes over all files. */
  readonly gate: Gate;
  readonly disk: Disk;
  hardLinksTo(path: string): Promise<number>;
  /** So many bytes of files are right: they were fetched, or need not be. */
  onBytes(bytes: number, from: 'store' | 'disk'): void;
  /** A file has its name and all that belongs to it. */
  onFile(entry: FileEntry, how: 'fetched' | 'kept', stats: BigIntStats | undefined): void;
}
