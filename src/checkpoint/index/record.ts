import type { MonotonicMs } from '../../base/clock.ts';
import type { FileChunk } from '../format/chunk.ts';
import type { FileStat } from '../scan/file-stat.ts';

/** What a file held when it was last read, and where the store has that. */
export interface FileRecord {
  /** Of a file that only a manifest told of: with times that no file has, so that it equals none. */
  readonly stat: FileStat;
  /** When this very stat was seen for the first time. */
  readonly seenAt: MonotonicMs;
  /** When the reading began by which `chunks` is known. */
  readonly readAt: MonotonicMs;
  /** Each is in a pack that the newest manifest reaches, or that this epoch has stored since; see `isLost`. */
  readonly chunks: readonly FileChunk[];
  /** It held all of that at one moment; else parts of it are of several, good to be compared with and nothing else. */
  readonly isVersion: boolean;
}

/** The id of a chunk that the store doesn't have any more: no content has it. */
export const LOST_ID = '';

/** Nothing has to be sent for what the file held then. */
export function isWhole({ chunks }: FileRecord): boolean {
  return chunks.every((chunk) => !('pack' in chunk) || chunk.id !== LOST_ID);
}

/** The record of a file as a manifest has it: to compare with, never to trust without reading. */
export function recordOfEntry(
  { size, mtimeNs }: { readonly size: number; readonly mtimeNs: bigint },
  chunks: readonly FileChunk[],
  isVersion = true,
): FileRecord {
  const stat = { size, mtimeNs, ctimeNs: -1n, ino: 0n, dev: 0n };
  return { stat, seenAt: Infinity, readAt: -Infinity, chunks, isVersion };
}
