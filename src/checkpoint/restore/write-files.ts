import { closeSync, fstatSync, fsync, fsyncSync } from 'node:fs';
import { promisify } from 'node:util';

import { forEachLimit } from '../../base/concurrency.ts';
import { EvictdError } from '../../base/errors.ts';
import { isStored } from '../format/chunk.ts';
import type { StoredChunk } from '../format/chunk.ts';
import type { FileEntry } from '../format/entry.ts';
import { quotePath } from '../../base/files/path-name.ts';
import { TAKE_OLDER } from '../format/tree/piece.ts';
import { compareChunks, STRETCH_BYTES_MAX, stretchesOf } from '../format/stretches.ts';
import type { Stretch } from '../format/stretches.ts';
import { fileError } from '../scan/file-error.ts';
import type { FilesContext } from './context.ts';
import { openLocal, partsOf } from './keep-files.ts';
import type { FileWork } from './keep-files.ts';
import { createTemporary, dropTemporary, withFileError } from './target/temporary.ts';
import type { Temporary, Written } from './target/temporary.ts';

/** Files that are open at once, over all groups, stay below the 1,024 that a process may have by default. */
const GROUP_FILES_MAX = 192;
const GROUPS_IN_FLIGHT = 4;
const FETCHES_IN_FLIGHT = 8;
const LARGE_BYTES = 8 * 1024 ** 2;

const syncFile = promisify(fsync);

/** A chunk that has to be fetched, and where it goes. */
interface Wish {
  readonly entry: FileEntry;
  /** Of the chunk in its file. */
  readonly index: number;
  readonly chunk: StoredChunk;
  readonly fd: number;
  readonly position: number;
}

/**
 * Writes files under temporary names, each chunk checked; those that are complete are added to `written`, and stay there
 * when this rejects, as it does with `corrupt-chunk`, `checkpoint-gone`, `unsafe-target`, `disk-full`, or what the store
 * rejects with. Files whose chunks are neighbours in the store are written together.
 */
export async function writeFiles(
  context: FilesContext,
  work: readonly FileWork[],
  written: Written[],
  signal: AbortSignal,
): Promise<void> {
  await forEachLimit(groupsOf(work), GROUPS_IN_FLIGHT, signal, async (group, inner) => {
    const open: Temporary[] = [];
    try {
      const wishes: Wish[] = [];
      for (const one of group) {
        const temporary = createTemporary(context.target, one.entry);
        open.push(temporary);
        wishes.push(...(await wishesOf(context, temporary, one, inner)));
      }
      await forEachLimit(stretchesOf(wishes), FETCHES_IN_FLIGHT, inner, (stretch, deeper) =>
        fetch(context, stretch, deeper),
      );
      for (let next = open[0]; next !== undefined; next = open[0]) {
        const complete = await seal(context, next);
        open.shift();
        closeSync(next.fd);
        written.push(complete);
      }
    } catch (error) {
      for (const temporary of open) dropTemporary(context.target, temporary);
      throw error;
    }
  });
}

/** What has to be fetched of a file, once what is on disk was copied. */
async function wishesOf(
  context: FilesContext,
  { fd }: Temporary,
  { entry, same }: FileWork,
  signal: AbortSignal,
): Promise<readonly Wish[]> {
  const copied = same.size === 0 ? same : await copySame(context, entry, same, fd, signal);
  const wishes: Wish[] = [];
  let position = 0;
  let bytesThere = 0;
  for (const [index, chunk] of entry.chunks.entries()) {
    if (isStored(chunk) && !copied.has(index)) wishes.push({ entry, index, chunk, fd, position });
    else bytesThere += chunk.plain;
    position += chunk.plain;
  }
  context.onBytes(bytesThere, 'disk');
  return wishes;
}

/** Copies chunks from what has the file's name, and answers those that still were what they should be. */
async function copySame(
  { target, workers, hash }: FilesContext,
  entry: FileEntry,
  same: ReadonlySet<number>,
  copyTo: number,
  signal: AbortSignal,
): Promise<ReadonlySet<number>> {
  const local = openLocal(target, entry);
  if (local === undefined) return new Set();
  try {
    const parts = partsOf(local).filter(({ index, part }) => same.has(index) && isStored(part.chunk));
    const copies = parts.map(({ part }) => ({ ...part, copyTo }));
    const { wrong } = await workers.compare({ hash, parts: copies }, signal);
    return new Set(parts.filter((_, at) => !wrong.includes(at)).map(({ index }) => index));
  } catch (error) {
    throw localError(error, entry.path);
  } finally {
    closeSync(local.fd);
  }
}

async function fetch(
  context: FilesContext,
  { items: wishes, ...stretch }: Stretch<Wish>,
  signal: AbortSignal,
): Promise<void> {
  using _place = await context.gate.enter(stretch.bytes, signal);
  const pack = context.packPrefix + stretch.pack;
  // All of it is copied to a thread: not more than it takes.
  const chunks = wishes.map(({ chunk, fd, position }) => ({ chunk, fd, position }));
  const [first] = wishes;
  try {
    const { wrong } = await context.workers.fetch({ ...stretch, pack, hash: context.hash, chunks }, signal);
    const [at] = wrong;
    const corrupt = at === undefined ? undefined : wishes[at];
    if (corrupt !== undefined) throw corruptChunk(corrupt, pack);
  } catch (error) {
    if (first === undefined || !(error instanceof EvictdError)) throw error;
    if (error.code === 'not-found' || error.code === 'archived') throw goneChunk(first.entry, pack, error);
    throw localError(error, first.entry.path);
  }
  context.onBytes(
    wishes.reduce((sum, { chunk }) => sum + chunk.plain, 0),
    'store',
  );
}

async function seal(context: FilesContext, { entry, name, fd }: Temporary): Promise<Written> {
  try {
    // So that the disk has something to do while others are fetched.
    if (context.disk.how === 'all' && entry.size >= LARGE_BYTES) await syncFile(fd);
    const stats = fstatSync(fd, { bigint: true });
    context.attributes.set(context.system.locationOf(fd), stats, entry);
    if (context.disk.how === 'each') fsyncSync(fd);
    return { entry, name, ino: stats.ino };
  } catch (error) {
    return withFileError(entry.path, () => {
      throw error;
    });
  }
}

/** What the system says of a file that is written has its code in capitals; the store's codes are not. */
function localError(error: unknown, path: string): unknown {
  return error instanceof EvictdError && /^E[A-Z0-9]+$/.test(error.code) ? fileError(error, path) : error;
}

/** By where their first chunk is: so many files, or so many bytes, but always a whole file. */
function* groupsOf(work: readonly FileWork[]): Generator<readonly FileWork[]> {
  const placed = work.map((one) => {
    const wanted = one.entry.chunks.filter((_, index) => !one.same.has(index)).filter(isStored);
    return { one, first: wanted[0], bytes: wanted.reduce((sum, { stored }) => sum + stored, 0) };
  });
  placed.sort(({ first: a }, { first: b }) => {
    if (a === undefined || b === undefined) return Number(b === undefined) - Number(a === undefined);
    return compareChunks(a, b);
  });
  let group: FileWork[] = [];
  let groupBytes = 0;
  for (const { one, bytes } of placed) {
    const isFull = group.length === GROUP_FILES_MAX || groupBytes + bytes > STRETCH_BYTES_MAX;
    if (isFull && group.length > 0) {
      yield group;
      group = [];
      groupBytes = 0;
    }
    group.push(one);
    groupBytes += bytes;
  }
  if (group.length > 0) yield group;
}

function goneChunk({ path }: FileEntry, pack: string, cause: EvictdError): EvictdError {
  const where = cause.code === 'archived' ? 'is in the archive tier' : 'is not in the store any more';
  return new EvictdError('checkpoint-gone', `${pack}, with content of ${quotePath(path)}, ${where}`, {
    remedy: 'it was pruned or moved meanwhile: restore again, or another checkpoint with --at',
    cause,
  });
}

function corruptChunk({ entry, index, chunk }: Wish, pack: string): EvictdError {
  return new EvictdError(
    'corrupt-chunk',
    `chunk ${index} of ${quotePath(entry.path)} (${pack}, byte ${chunk.offset}) does not have the content that its checkpoint says`,
    { remedy: TAKE_OLDER },
  );
}
