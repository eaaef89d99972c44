import { type FileChunk, isStored } from '../../format/chunk.ts';
import { bytesOf, replaceRange } from '../../index/chunk-range.ts';
import { type FileRecord, isWhole } from '../../index/record.ts';
import type { ScannedFile } from '../../scan/scanned.ts';
import type { Matcher } from '../../scan/set-patterns.ts';
import type { FileRequest } from './file-parts.ts';
import type { FileVersion, SetWork } from '../set-work.ts';

export interface ToRead {
  readonly file: ScannedFile;
  /** The last reading. The next one goes no further, so that of a file that only grows the two can agree. */
  readonly earlier: FileVersion | undefined;
  /** It doesn't only grow, whatever the config says. */
  readonly isNoLog: boolean;
}

export interface Known {
  /** Files that only grow, as the config says. */
  readonly isLog: Matcher;
  /** What is known of files by the names that they have now. */
  readonly moved: ReadonlyMap<string, FileRecord>;
}

/** Of a file that only grows just the end is read: from its last whole chunk on, which tells whether it did only grow. */
export function requestOf(
  { index }: SetWork,
  { file, earlier, isNoLog }: ToRead,
  { isLog, moved }: Known,
): FileRequest {
  const { path, stat } = file;
  const own = index.files.get(path);
  const known = earlier?.chunks ?? moved.get(path)?.chunks ?? own?.chunks ?? [];
  const to = earlier?.stat.size ?? stat.size;
  const isGrown =
    own !== undefined &&
    earlier === undefined &&
    !isNoLog &&
    isLog(path) &&
    isWhole(own) &&
    own.stat.ino === stat.ino &&
    own.stat.dev === stat.dev &&
    own.stat.size < stat.size;
  const from = isGrown ? lastWholeChunk(own.chunks, index.cut.chunkBytes) : 0;
  return { path, from, to, known, isAgain: earlier !== undefined };
}

/** Where it begins; 0: there is none. */
function lastWholeChunk(chunks: readonly FileChunk[], chunkBytes: number): number {
  let position = bytesOf(chunks);
  for (const chunk of chunks.toReversed()) {
    position -= chunk.plain;
    if (isStored(chunk) && chunk.plain === chunkBytes) return position;
  }
  return 0;
}

/** What a reading begins with is what was there before. */
export function beginsAlike({ from, known }: FileRequest, [first]: readonly FileChunk[]): boolean {
  let position = 0;
  for (const chunk of known) {
    if (position >= from)
      return first !== undefined && isStored(first) && isStored(chunk) && first.id === chunk.id;
    position += chunk.plain;
  }
  return false;
}

/** All that a file holds, by a reading of its end. */
export function withPrefix({ from, known }: FileRequest, chunks: readonly FileChunk[]): readonly FileChunk[] {
  return from === 0 ? chunks : replaceRange(known, from, chunks);
}
