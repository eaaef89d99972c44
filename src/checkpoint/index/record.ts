import type { MonotonicMs } from '../../base/clock.ts';
import type { FileChunk } from '../format/chunk.ts';
import type { FileStat } from '../scan/file-stat.ts';

/** What a file held when it was last read, and where the store has that. */
export interface FileRecord {
  readonly stat: FileStat;
  /** When this very stat was seen for the first time. */
  readonly seenAt: MonotonicMs;
  /** When the reading began by which `chunks` is known. */
  readonly readAt: MonotonicMs;
  /** Each is in a pack that the newest manifest reaches, or that this epoch has stored since. */
  readonly chunks: readonly FileChunk[];
}
