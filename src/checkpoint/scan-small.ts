/**
 * What a reading thread does for a scan, done without one: for a small set, which is looked at every half a minute, the
 * start of a thread costs many times what it would do.
 */
import type { BigIntStats } from 'node:fs';
import { lstat, opendir, readlink } from 'node:fs/promises';

import { openFolder } from './open-file.ts';
import { decodePath, fsPath, splitPath } from './path-name.ts';
import type { ListJob, ListResult, LookJob, LookResult, ReadFailure, ReadJob } from './read-job.ts';
import { createLooked, failure, isGone, namesTogether, noteFound } from './scan-thread.ts';

/** For more of them a thread is cheaper. */
const SMALL_MAX = 400;
/** Costs a third of what one after the other does: what comes back at the same time is taken in one turn. */
const TOGETHER = 128;

export function isSmall(job: ReadJob): job is ListJob | LookJob {
  return job.kind === 'list' || (job.kind === 'look' && job.paths.length <= SMALL_MAX);
}

type Scanned = ListResult | LookResult | ReadFailure;

/**
 * The first look at files is at one: a mount that hangs takes one of Node's four threads for such calls, and leaves the
 * others to the journal. Undefined: there is more than was to be expected.
 */
export async function scanSmall(job: ListJob | LookJob): Promise<Scanned | undefined> {
  await using folders = createFolders(job.root);
  return await (job.kind === 'list' ? listFolders(job, folders) : lookAt(job, folders));
}

async function listFolders(job: ListJob, folders: Folders): Promise<Scanned | undefined> {
  const names: (string | undefined)[] = [];
  for (const path of job.folders) {
    try {
      const found = await namesIn(await folders.at(path));
      if (found === undefined) return undefined;
      names.push(namesTogether(found));
    } catch (error) {
      if (!isGone(error)) return failure(error, path);
      names.push(undefined);
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

async function lookAt({ paths }: LookJob, folders: Folders): Promise<Scanned> {
  const looked = createLooked(paths.length);
  let isFirst = true;
  for (let at = 0, end = 0; at < paths.length; at = end) {
    const { folder } = splitPath(paths[at] ?? '');
    const isTogether = (path: string | undefined) => path !== undefined && splitPath(path).folder === folder;
    while (end - at < (isFirst ? 1 : TOGETHER) && isTogether(paths[end])) end++;
    isFirst = false;
    const some = paths.slice(at, end);
    const problem = await lookAtSome(some, { folder, folders }, (index, found, target) =>
      noteFound(looked, at + index, found, target),
    );
    if (problem !== undefined) return problem;
  }
  return looked;
}

interface Within {
  readonly folder: string;
  readonly folders: Folders;
}

async function lookAtSome(
  paths: readonly string[],
  { folder, folders }: Within,
  note: (index: number, found: BigIntStats, target: string | undefined) => void,
): Promise<ReadFailure | undefined> {
  const [first = folder] = paths;
  let location: string;
  try {
    location = await folders.at(folder);
  } catch (error) {
    return isGone(error) ? undefined : failure(error, first);
  }
  const results = await Promise.allSettled(
    paths.map((path) => lookAtOne(fsPath(location, splitPath(path).name))),
  );
  for (const [index, result] of results.entries()) {
    if (result.status === 'fulfilled') note(index, result.value.found, result.value.target);
    else if (!isGone(result.reason)) return failure(result.reason, paths[index] ?? folder);
  }
  return undefined;
}

async function lookAtOne(
  location: string | Buffer,
): Promise<{ found: BigIntStats; target: string | undefined }> {
  const found = await lstat(location, { bigint: true });
  const target = found.isSymbolicLink() ? await readlink(location, { encoding: 'buffer' }) : undefined;
  return { found, target: target && decodePath(target) };
}

/** As foldersBeneath has them, one chain of open folders at a time. */
interface Folders extends AsyncDisposable {
  at(path: string): Promise<string>;
}

function createFolders(root: string): Folders {
  let opened = new AsyncDisposableStack();
  let current: { readonly path: string; readonly location: string } | undefined;
  const close = async () => {
    const before = opened;
    opened = new AsyncDisposableStack();
    current = undefined;
    await before.disposeAsync();
  };
  return {
    async at(path) {
      if (current?.path === path) return current.location;
      await close();
      const location = await openFolder(root, path, opened);
      current = { path, location };
      return location;
    },
    [Symbol.asyncDispose]: close,
  };
}
