/**
 * What a thread does for a scan, done without one: for a small set, which is looked at every half a minute, the start of
 * a thread costs many times what it would do.
 */
import { lstat, opendir, readlink } from 'node:fs/promises';

import { decodePath, fsPath, splitPath } from '../../base/files/path-name.ts';
import { openFolders } from '../../base/files/beneath.ts';
import type { OpenFolders } from '../../base/files/beneath.ts';
import type { EntryFailure, ListJob, ListResult, LookJob, LookResult } from './scan-job.ts';
import { createLooked, entryFailure, namesTogether, noteFound, notLink } from './scan-thread.ts';
import type { Looked } from './scan-thread.ts';

/** For more of them a thread is cheaper. */
const SMALL_MAX = 400;
/** Costs a third of what one after the other does: what comes back at the same time is taken in one turn. */
const TOGETHER = 128;

/** Undefined: there is more than was to be expected, and a thread should do it. */
export async function listSmall(job: ListJob): Promise<ListResult | undefined> {
  await using folders = openFolders(job.root);
  const names: (string | EntryFailure)[] = [];
  for (const path of job.folders) {
    try {
      const found = await namesIn(await folders.at(path));
      if (found === undefined) return undefined;
      names.push(namesTogether(found));
    } catch (error) {
      names.push(entryFailure(error));
    }
  }
  return { kind: 'listed', names };
}

async function namesIn(folder: string): Promise<readonly string[] | undefined> {
  const names: string[] = [];
  for await (const { name } of await opendir(folder, { encoding: 'latin1', bufferSize: SMALL_MAX })) {
    if (names.push(name) > SMALL_MAX) return undefined;
  }
  return names;
}

/**
 * Undefined as for a list. The first look is at one path: a mount that hangs takes one of Node's four threads for such
 * calls, and leaves the others to the journal.
 */
export async function lookSmall({ root, paths }: LookJob): Promise<LookResult | undefined> {
  if (paths.length > SMALL_MAX) return undefined;
  await using folders = openFolders(root);
  const looked = createLooked(paths.length);
  for (let at = 0, end = 0; at < paths.length; at = end) {
    const { folder } = splitPath(paths[at] ?? '');
    const isTogether = (path: string | undefined) => path !== undefined && splitPath(path).folder === folder;
    while (end - at < (at === 0 ? 1 : TOGETHER) && isTogether(paths[end])) end++;
    await lookAtSome(looked, { paths: paths.slice(at, end), from: at, folder, folders });
  }
  return looked;
}

interface Some {
  /** All of one folder. */
  readonly paths: readonly string[];
  /** Index of the first one among all paths. */
  readonly from: number;
  readonly folder: string;
  readonly folders: OpenFolders;
}

async function lookAtSome(looked: Looked, { paths, from, folder, folders }: Some): Promise<void> {
  const fail = (index: number, error: unknown) => looked.failures.set(from + index, entryFailure(error));
  let location: string;
  try {
    location = await folders.at(folder);
  } catch (error) {
    for (const index of paths.keys()) fail(index, error);
    return;
  }
  const look = async (path: string, index: number) => {
    try {
      const place = fsPath(location, splitPath(path).name);
      const found = await lstat(place, { bigint: true });
      noteFound(looked, from + index, found, found.isSymbolicLink() ? await targetOf(place) : undefined);
    } catch (error) {
      fail(index, error);
    }
  };
  await Promise.all(paths.map(look));
}

async function targetOf(link: string | Buffer): Promise<string> {
  try {
    return decodePath(await readlink(link, { encoding: 'buffer' }));
  } catch (error) {
    throw notLink(error);
  }
}
