import { forEachLimit } from '../base/concurrency.ts';
import { EvictdError } from '../base/errors.ts';
import { forEachInSlices } from '../base/slices.ts';
import { commitFile, committedEntry } from './commit-file.ts';
import type { CommitContext } from './own-write.ts';
import { fileChanging } from './file-error.ts';
import { sameStat } from './file-stat.ts';
import type { Scan, ScannedFile } from './scan.ts';
import type { ManifestFile } from './schema.ts';
import { sendFile } from './send-file.ts';
import type { FileVersion } from './send-file.ts';
import { FILES_IN_FLIGHT } from './set-work.ts';
import type { SetWork, Versions } from './set-work.ts';
import { forgetBlob, forgetBlocks } from './stored-blobs.ts';
import type { StoredBlob } from './stored-blobs.ts';

/** In the order of the scan, whatever the order in which they get done. */
export async function commitFiles(
  begun: SetWork,
  context: CommitContext,
  scan: Scan,
  versions: Versions,
  signal: AbortSignal,
): Promise<ManifestFile[]> {
  const entries: ManifestFile[] = [];
  const left: (readonly [index: number, file: ScannedFile, version: FileVersion, blob: StoredBlob])[] = [];
  let index = 0;
  const enter = (file: ScannedFile) => {
    const version = versions.get(file.path);
    if (version === undefined) throw fileChanging(begun.set.path, file.path);
    const blob = begun.send.blobOf(file.path);
    const entry = committedEntry(file, version, blob);
    if (entry === undefined) left.push([index, file, version, blob]);
    else entries[index] = entry;
    index++;
  };
  await forEachInSlices(scan.files, enter, signal);
  await forEachLimit(left, FILES_IN_FLIGHT, signal, async ([at, file, version, blob], inner) => {
    entries[at] = await commitOrRestage(begun, context, file, version, blob, inner);
  });
  return entries;
}

/**
 * Staged blocks expire after a week, and go with another commit of the blob; the blob itself can be removed by a rule
 * of the account. Then they are sent once more.
 */
async function commitOrRestage(
  begun: SetWork,
  context: CommitContext,
  file: ScannedFile,
  version: FileVersion,
  blob: StoredBlob,
  signal: AbortSignal,
): Promise<ManifestFile> {
  try {
    return await commitFile(context, file, version, blob, signal);
  } catch (error) {
    if (!(error instanceof EvictdError)) throw error;
    if (error.code === 'missing-block') forgetBlocks(blob);
    else if (error.code === 'not-found') forgetBlob(blob);
    else throw error;
    const again = await sendFile(
      begun.send,
      file,
      { stop: () => false, readsMax: 1, changing: 'fail' },
      signal,
    );
    if (again === undefined || !sameStat(again.stat, file.stat))
      throw fileChanging(begun.set.path, file.path);
    return commitFile(context, file, again, blob, signal);
  }
}
