import { isStored } from '../format/chunk.ts';
import type { DirectoryEntry, FileEntry, HardLinkEntry, SymlinkEntry } from '../format/entry.ts';
import type { FilesContext } from './context.ts';
import { keepFiles } from './keep-files.ts';
import { finishFolder, makeFolder, makeHardLink, makeSymlink } from './target/place-entries.ts';
import type { Selection } from './selection.ts';
import { dropWritten, publish } from './target/temporary.ts';
import type { Written } from './target/temporary.ts';
import { writeFiles } from './write-files.ts';

/*
 * INVARIANTS
 * - Entries come in the order of paths, and some thousands of them are worked on together: memory doesn't grow with the
 *   set, and neighbours in the store, which were neighbours in the set, are fetched together.
 * - A file gets its name once it is complete and, where that is asked for, on disk. One sync is for all of a window.
 * - A folder gets its owner, mode and time once nothing is to be changed in it any more.
 */
const WINDOW_ENTRIES_MAX = 8192;
const WINDOW_BYTES_MAX = 512 * 1024 ** 2;
const WINDOW_CHUNKS_MAX = 65_536;
/** For work on names, some microseconds each. */
const ENTRIES_TOGETHER = 128;

interface Window {
  readonly files: FileEntry[];
  readonly symlinks: SymlinkEntry[];
  readonly hardLinks: HardLinkEntry[];
  entries: number;
  bytes: number;
  chunks: number;
}

/** Makes all that is selected, in the target. Rejects as restoreSet does. */
export async function placeAll(
  context: FilesContext,
  { entries }: Pick<Selection, 'entries'>,
  signal: AbortSignal,
): Promise<void> {
  /** Those whose owner, mode and time are still to come, in the order of paths. */
  const unfinished: DirectoryEntry[] = [];
  let window = newWindow();
  for await (const { entry, isAbove } of entries()) {
    if (isFull(window)) {
      await settle(context, window, signal);
      await finish(context, unfinished, entry.path);
      window = newWindow();
    }
    window.entries++;
    if (window.entries % ENTRIES_TOGETHER === 0) await pause(signal);
    switch (entry.type) {
      case 'directory':
        if (makeFolder(context, entry) || !isAbove) unfinished.push(entry);
        break;
      case 'file':
        window.files.push(entry);
        window.bytes += entry.chunks.reduce((sum, chunk) => sum + (isStored(chunk) ? chunk.plain : 0), 0);
        window.chunks += entry.chunks.length;
        break;
      case 'symlink':
        window.symlinks.push(entry);
        break;
      case 'hardlink':
        window.hardLinks.push(entry);
    }
  }
  await settle(context, window, signal);
  await finish(context, unfinished, undefined);
}

function newWindow(): Window {
  return { files: [], symlinks: [], hardLinks: [], entries: 0, bytes: 0, chunks: 0 };
}

function isFull({ entries, bytes, chunks }: Window): boolean {
  return entries >= WINDOW_ENTRIES_MAX || bytes >= WINDOW_BYTES_MAX || chunks >= WINDOW_CHUNKS_MAX;
}

async function settle(
  context: FilesContext,
  { files, symlinks, hardLinks }: Window,
  signal: AbortSignal,
): Promise<void> {
  const written: Written[] = [];
  try {
    await writeFiles(context, await keepFiles(context, files, signal), written, signal);
  } catch (error) {
    if (signal.aborted) for (const one of written) dropWritten(context.target, one);
    // What is complete needn't be fetched again by the next try. What goes wrong with it now is of no interest.
    else await publishAll(context, written).catch(() => undefined);
    throw error;
  }
  await publishAll(context, written);
  for (const [index, link] of symlinks.entries()) {
    makeSymlink(context, link);
    if (index % ENTRIES_TOGETHER === 0) await pause(signal);
  }
  for (const [index, link] of hardLinks.entries()) {
    makeHardLink(context, link);
    if (index % ENTRIES_TOGETHER === 0) await pause(signal);
  }
}

async function publishAll(context: FilesContext, written: readonly Written[]): Promise<void> {
  if (written.length === 0) return;
  const { target, disk } = context;
  let published = 0;
  try {
    if (disk.how === 'all') disk.sync();
    for (const one of written) {
      published++;
      context.onFile(one.entry, 'fetched', publish(target, one));
      if (published % ENTRIES_TOGETHER === 0) await pause();
    }
  } finally {
    for (const one of written.slice(published)) dropWritten(target, one);
  }
}

/** Finishes those that `next` isn't in, the deepest first: all that is in them was done. */
async function finish(
  context: FilesContext,
  unfinished: DirectoryEntry[],
  next: string | undefined,
): Promise<void> {
  const isAbove = ({ path }: DirectoryEntry) => next?.startsWith(`${path}/`) === true;
  const left = unfinished.filter(isAbove);
  const done = unfinished.splice(0).filter((folder) => !isAbove(folder));
  unfinished.push(...left);
  for (const [index, folder] of done.reverse().entries()) {
    finishFolder(context, folder, { sync: context.disk.how === 'each' });
    if (index % ENTRIES_TOGETHER === 0) await pause();
  }
}

/** Lets timers and answers have their turn. */
async function pause(signal?: AbortSignal): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
  signal?.throwIfAborted();
}
