import { constants } from 'node:fs';
import { lstat, open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';

import { errnoOf, EvictdError, isErrno } from '../base/errors.ts';
import { fileError } from './file-error.ts';
import { DOUBTFUL_MS, newestMsOf } from './file-index.ts';
import { statOf } from './file-stat.ts';
import { dress, isSameTime } from './restore-attributes.ts';
import { copyBlocks, sameBlocksOf, zeroBlocksOf } from './restore-blocks.ts';
import type { BlockContext } from './restore-blocks.ts';
import { fetchContent } from './restore-frames.ts';
import type { OpenFolder } from './restore-folders.ts';
import type { RestoreTarget } from './restore-target.ts';
import type { ManifestFile } from './schema.ts';

export interface RestoreFileContext extends BlockContext {
  readonly target: RestoreTarget;
  /** How many other names the checkpoint has for the file at `path`. */
  readonly hardLinksTo: (path: string) => number;
}

/**
 * Brings one file back: written beside its place, each block checked against its hash, then renamed; whatever goes
 * wrong, the place holds what it held before. A file that is there and identical is kept; of one that is partly so,
 * only the other blocks are fetched. Blocks of zeros are neither fetched nor written: they become holes.
 * Rejects `corrupt-block`, `unsafe-target`, `disk-full`, or what the store rejects with.
 */
export async function restoreFile(
  context: RestoreFileContext,
  file: ManifestFile,
  signal: AbortSignal,
): Promise<'fetched' | 'kept'> {
  try {
    return await context.target.inFolderOf(file.path, async (folder, name) => {
      await using local = await openLocal(folder, name);
      const same = local === undefined ? new Set<number>() : await sameBlocksOf(context, file, local, signal);
      if (local !== undefined && (await isKept(context, file, local, same))) {
        context.onBytes(file.size, 'disk');
        return 'kept';
      }
      await context.target.replaceFile(file.path, async (handle) => {
        await fill(context, file, local?.handle, same, handle, signal);
        await dress(handle, file);
      });
      await enter(context, file, folder.at(name));
      return 'fetched';
    });
  } catch (error) {
    // Without an errno it is no error of the file system but a fault of the program.
    if (error instanceof EvictdError || signal.aborted || errnoOf(error) === undefined) throw error;
    throw fileError(error, file.path);
  }
}

async function fill(
  context: RestoreFileContext,
  file: ManifestFile,
  local: FileHandle | undefined,
  same: ReadonlySet<number>,
  handle: FileHandle,
  signal: AbortSignal,
): Promise<void> {
  await handle.truncate(file.size);
  const zero = zeroBlocksOf(context, file);
  context.onBytes(bytesOf(file, zero), 'disk');
  const copied = [...same].filter((index) => !zero.has(index));
  const changed = local === undefined ? [] : await copyBlocks(context, file, copied, local, handle, signal);
  const missing = [...file.blocks.keys()].filter((index) => !zero.has(index) && !same.has(index));
  await fetchContent(
    context,
    file,
    [...missing, ...changed].toSorted((one, other) => one - other),
    handle,
    signal,
  );
}

/**
 * Into the index, so that the daemon needn't read it. Before it had its name nobody could write to it; since then each
 * write, also one to mapped pages, which are on disk and clean, changes its time from that of the checkpoint.
 */
async function enter(
  { index }: RestoreFileContext,
  file: ManifestFile,
  location: string | Buffer,
): Promise<void> {
  if (index === undefined) return;
  const stat = statOf(await lstat(location, { bigint: true }));
  if (stat.size !== file.size || !isSameTime(stat.mtimeNs, file.mtimeNs)) return;
  const { path, blockSize, blocks } = file;
  index.set(path, { stat, readAtMs: newestMsOf(stat) + DOUBTFUL_MS, blockSize, blocks });
}

interface LocalFile extends AsyncDisposable {
  readonly handle: FileHandle;
  readonly size: number;
  readonly names: number;
}

/** Undefined when there is nothing, a link, or what isn't ours to read: it is replaced. A folder shows at the rename. */
async function openLocal(folder: OpenFolder, name: string): Promise<LocalFile | undefined> {
  let handle: FileHandle;
  try {
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    handle = await open(folder.at(name), flags);
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ELOOP', 'EACCES', 'ENXIO')) return undefined;
    throw error;
  }
  const stats = await handle.stat();
  if (!stats.isFile()) {
    await handle.close();
    return undefined;
  }
  const { size, nlink } = stats;
  return { handle, size, names: nlink, [Symbol.asyncDispose]: () => handle.close() };
}

/** Whether the file can stay; then it gets its mode and time. */
async function isKept(
  { hardLinksTo }: RestoreFileContext,
  file: ManifestFile,
  { handle, size, names }: LocalFile,
  same: ReadonlySet<number>,
): Promise<boolean> {
  if (size !== file.size || same.size !== file.blocks.length) return false;
  // One with names that the checkpoint doesn't know would change elsewhere too, now and with each later write.
  if (names > 1 + hardLinksTo(file.path)) return false;
  try {
    await dress(handle, file);
    return true;
  } catch (error) {
    // Somebody else's, whom only root can take it from: a copy of it will be ours.
    if (isErrno(error, 'EPERM')) return false;
    throw error;
  }
}

function bytesOf(file: ManifestFile, indexes: ReadonlySet<number>): number {
  const last = file.blocks.length - 1;
  const tail = file.size - last * file.blockSize;
  return indexes.size * file.blockSize - (indexes.has(last) ? file.blockSize - tail : 0);
}
