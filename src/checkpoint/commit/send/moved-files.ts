import { forEachInSlices } from '../../../base/slices.ts';
import type { FileRecord } from '../../index/record.ts';
import type { ScannedFile } from '../../scan/scanned.ts';
import type { SetWork } from '../set-work.ts';

/**
 * What is known of files that have got another name, by that one: what they hold needn't be sent again. It is only
 * compared with, so that an inode which another file has by now costs nothing but what is sent.
 */
export async function movedFiles(
  { index }: SetWork,
  files: readonly ScannedFile[],
  signal: AbortSignal,
): Promise<ReadonlyMap<string, FileRecord>> {
  const unknown = new Map<bigint, ScannedFile>();
  const note = (file: ScannedFile) => {
    if (index.files.get(file.path)?.stat.ino !== file.stat.ino) unknown.set(file.stat.ino, file);
  };
  await forEachInSlices(files, note, signal);
  const moved = new Map<string, FileRecord>();
  if (unknown.size === 0) return moved;
  const find = (record: FileRecord) => {
    const file = unknown.get(record.stat.ino);
    if (file === undefined || file.stat.dev !== record.stat.dev) return;
    // One that another name was given to may have grown since, but is no older.
    if (record.stat.size <= file.stat.size && record.stat.mtimeNs <= file.stat.mtimeNs)
      moved.set(file.path, record);
  };
  await forEachInSlices(index.files.values(), find, signal);
  return moved;
}
