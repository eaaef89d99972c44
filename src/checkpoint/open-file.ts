import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';

import { sleep } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { isErrno } from '../base/errors.ts';
import { FILE_FLAGS, FOLDER_FLAGS, locationOf, namesOf } from './beneath.ts';
import { fileError } from './file-error.ts';
import { fsPath, splitPath } from './path-name.ts';
import { isUnwritten, statOf } from './file-stat.ts';
import type { FileStat } from './file-stat.ts';

/**
 * Coarse kernel clocks stamp a file every 4 to 10 ms: a second write within that time leaves no trace in its times.
 * A file that was written so recently is read a moment later.
 */
export const TICK_MS = 20;
export const LOOKS_MAX = 5;

/**
 * `location` is that of the open set folder. Undefined when it isn't there any more, or is no regular file now, or a
 * link is on the way. Rejects `file-unreadable`.
 */
export async function openFile(location: string, path: string): Promise<FileHandle | undefined> {
  const { folder, name } = splitPath(path);
  await using opened = new AsyncDisposableStack();
  try {
    return await open(fsPath(await openFolder(location, folder, opened), name), FILE_FLAGS);
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO')) return undefined;
    throw fileError(error, path);
  }
}

/**
 * Where the folder `path` below `location` is for as long as `opened` isn't disposed. Opened as foldersBeneath does it;
 * rejects with the system's error.
 */
export async function openFolder(
  location: string,
  path: string,
  opened: AsyncDisposableStack,
): Promise<string> {
  let at = location;
  for (const name of namesOf(path)) {
    at = locationOf(opened.use(await open(fsPath(at, name), FOLDER_FLAGS)).fd);
  }
  return at;
}

/** See isUnwritten. */
export async function isUnchanged(handle: FileHandle, stat: FileStat): Promise<boolean> {
  return isUnwritten(await handle.stat({ bigint: true }), stat);
}

/**
 * The file as it is when a write from then on would show in its times; undefined when it is no regular file.
 * One that is written to all the time is answered as it is after `LOOKS_MAX` looks.
 */
export async function settledStat(
  handle: FileHandle,
  clock: Clock,
  signal: AbortSignal,
): Promise<FileStat | undefined> {
  for (let looks = 1; ; looks++) {
    const stats = await handle.stat({ bigint: true });
    if (!stats.isFile()) return undefined;
    const stat = statOf(stats);
    const ageMs = clock.wallMs() - Number(stat.ctimeNs) / 1e6;
    // A time in the future says that the clock was stepped; waiting for it would have no bound.
    if (ageMs < 0 || ageMs >= TICK_MS || looks === LOOKS_MAX) return stat;
    await sleep(clock, TICK_MS - ageMs, signal);
  }
}
