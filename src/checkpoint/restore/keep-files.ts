import { closeSync, fstatSync, lstatSync, openSync } from 'node:fs';
import type { BigIntStats } from 'node:fs';

import { forEachLimit } from '../../base/concurrency.ts';
import { isErrno } from '../../base/errors.ts';
import { isStored } from '../format/chunk.ts';
import type { FileEntry } from '../format/entry.ts';
import type { ComparePart } from '../pack/compare-file.ts';
import { FILE_FLAGS } from '../../base/files/beneath.ts';
import { sameStat, statOf } from '../scan/file-stat.ts';
import type { FilesContext } from './context.ts';
import type { Target } from './target/open-target.ts';
import { withFileError } from './target/temporary.ts';

/** A file that has to be written, though some of its chunks are on disk already, under its name. */
export interface FileWork {
  readonly entry: FileEntry;
  /** Indexes of those. */
  readonly same: ReadonlySet<number>;
}

const FILES_TOGETHER = 128;
const BYTES_TOGETHER = 128 * 1024 ** 2;
const COMPARE_BYTES = 8 * 1024 ** 2;
const COMPARES_IN_FLIGHT = 4;

/**
 * Keeps the files that are there and equal, and answers the others. All of a file is read, whatever its times say: a
 * machine that is taken away keeps times of writes whose content never reached the disk. Throws the error of a file.
 */
export async function keepFiles(
  context: FilesContext,
  entries: readonly FileEntry[],
  signal: AbortSignal,
): Promise<readonly FileWork[]> {
  const work: FileWork[] = [];
  for (const batch of batchesOf(entries)) {
    const locals: Local[] = [];
    try {
      for (const entry of batch) {
        const local = openLocal(context.target, entry);
        if (local === undefined) work.push({ entry, same: new Set() });
        else locals.push(local);
      }
      await compareLocals(context, locals, signal);
      for (const local of locals) {
        const { entry, same } = local;
        if (await isKept(context, local)) {
          context.onBytes(entry.size, 'disk');
          context.onFile(entry, 'kept', fstatSync(local.fd, { bigint: true }));
        } else work.push({ entry, same });
      }
    } finally {
      for (const { fd } of locals) closeSync(fd);
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  return work;
}

export interface Local {
  readonly entry: FileEntry;
  readonly fd: number;
  readonly stats: BigIntStats;
  /** Indexes of chunks that it has. */
  readonly same: Set<number>;
}

/** Undefined when there is nothing, a link, or what isn't ours to read: it is replaced. A folder shows at the rename. */
export function openLocal(target: Target, entry: FileEntry): Local | undefined {
  return withFileError(entry.path, () => {
    const place = target.folders.place(entry.path);
    // An error for each file of a new folder would take longer than all else that is done for it.
    if (lstatSync(place, { throwIfNoEntry: false })?.isFile() !== true) return undefined;
    let fd: number;
    try {
      fd = openSync(place, FILE_FLAGS);
    } catch (error) {
      if (isErrno(error, 'ENOENT', 'ELOOP', 'EACCES', 'ENXIO')) return undefined;
      throw error;
    }
    const stats = fstatSync(fd, { bigint: true });
    if (stats.isFile()) return { entry, fd, stats, same: new Set<number>() };
    closeSync(fd);
    return undefined;
  });
}

/** Chunks that end before the file does: the others it can't have. */
export function partsOf({
  entry,
  fd,
  stats,
}: Local): { readonly index: number; readonly part: ComparePart }[] {
  const parts: { index: number; part: ComparePart }[] = [];
  let position = 0;
  for (const [index, chunk] of entry.chunks.entries()) {
    if (position + chunk.plain > Number(stats.size)) break;
    parts.push({ index, part: { chunk, fd, position } });
    position += chunk.plain;
  }
  return parts;
}

async function compareLocals(
  { workers, hash }: FilesContext,
  locals: readonly Local[],
  signal: AbortSignal,
): Promise<void> {
  const all = locals.flatMap((local) => partsOf(local).map((one) => ({ ...one, local })));
  await forEachLimit(slices(all), COMPARES_IN_FLIGHT, signal, async (slice, inner) => {
    const parts = slice.map(({ part }) => part);
    const { wrong } = await workers.compare({ hash, parts }, inner);
    const isWrong = new Set(wrong);
    for (const [at, { local, index }] of slice.entries()) if (!isWrong.has(at)) local.same.add(index);
  });
}

/** All that its entry says that it holds, and nothing else. */
export async function hasContent(context: FilesContext, local: Local, signal: AbortSignal): Promise<boolean> {
  await compareLocals(context, [local], signal);
  return Number(local.stats.size) === local.entry.size && local.same.size === local.entry.chunks.length;
}

/** Whether the file can stay; then it gets its owner, mode and time. */
async function isKept(context: FilesContext, { entry, fd, stats, same }: Local): Promise<boolean> {
  if (Number(stats.size) !== entry.size || same.size !== entry.chunks.length) return false;
  // One with names that the checkpoint doesn't know would change elsewhere too, now and with each later write.
  if (stats.nlink > 1n && stats.nlink > 1 + (await context.hardLinksTo(entry.path))) return false;
  const now = fstatSync(fd, { bigint: true });
  if (!sameStat(statOf(now), statOf(stats))) return false;
  try {
    context.attributes.set(context.system.locationOf(fd), now, entry);
    return true;
  } catch (error) {
    // Somebody else's, whom only root can take it from: a copy of it will be ours.
    if (isErrno(error, 'EPERM')) return false;
    return withFileError(entry.path, () => {
      throw error;
    });
  }
}

function* batchesOf(entries: readonly FileEntry[]): Generator<readonly FileEntry[]> {
  let batch: FileEntry[] = [];
  let bytes = 0;
  for (const entry of entries) {
    batch.push(entry);
    for (const chunk of entry.chunks) if (isStored(chunk)) bytes += chunk.plain;
    if (batch.length < FILES_TOGETHER && bytes < BYTES_TOGETHER) continue;
    yield batch;
    batch = [];
    bytes = 0;
  }
  if (batch.length > 0) yield batch;
}

function* slices<T extends { readonly part: ComparePart }>(parts: readonly T[]): Generator<readonly T[]> {
  let slice: T[] = [];
  let bytes = 0;
  for (const one of parts) {
    slice.push(one);
    bytes += one.part.chunk.plain;
    if (bytes < COMPARE_BYTES) continue;
    yield slice;
    slice = [];
    bytes = 0;
  }
  if (slice.length > 0) yield slice;
}
