/**
 * The entry of a reading thread. Reads and hashes without a pause, which the main thread must never do; it ends when
 * it is terminated. Imports what small and free of packages: it is built into a text of its own.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';

import { FILE_FLAGS, foldersBeneath } from './beneath.ts';
import type { FoldersBeneath } from './beneath.ts';
import { blockIdOf, createBlockHash } from './block-id.ts';
import { capacityOf, contentIn, pieceMemory } from './block-memory.ts';
import { createFetcher } from './fetch-thread.ts';
import type { FetchJob, ReadAnswers, ReadJob, ReadMessage, ReadResult } from './read-job.ts';
import { fsPath, splitPath } from './path-name.ts';
import { placeFrame, verifyBlock } from './restore-thread.ts';
import { listFolders, lookAt } from './scan-thread.ts';
import { isUnwritten, statOf } from './file-stat.ts';
import { compressFrame } from './zstd-frame.ts';

/** What is read stays in the processor's cache until it is hashed: twice as fast as block by block. */
const PIECE_BYTES = 256 * 1024;

const scratch = pieceMemory(PIECE_BYTES);

const fetcher = createFetcher();

parentPort?.on('message', (message: ReadMessage) => {
  if (message.kind === 'cancel') return fetcher.cancel(message.order);
  using folders = createFoldersOfRoots();
  return answer(message.orders.flatMap(([number, job]) => take(number, job, folders)));
});

function answer(answers: ReadAnswers): void {
  if (answers.length === 0) return;
  const moved = answers.flatMap(([, result]) => memoryOf(result));
  parentPort?.postMessage(answers, moved);
}

/** Answers what can be answered at once. */
function take(number: number, job: ReadJob, folders: FoldersOfRoots): ReadAnswers {
  if (job.kind !== 'fetch') return [[number, performIn(folders, job)]];
  fetcher.start(number, job, (result) => answer([[number, result]]));
  return [];
}

/** What a thread does for a job that it can answer at once. */
export function perform(job: Exclude<ReadJob, FetchJob>): ReadResult {
  using folders = createFoldersOfRoots();
  return performIn(folders, job);
}

function performIn(folders: FoldersOfRoots, job: Exclude<ReadJob, FetchJob>): ReadResult {
  try {
    switch (job.kind) {
      case 'block':
        return readBlock(job);
      case 'hash':
        return hashBlocks(job);
      case 'file':
        return readFile({ ...job, room: contentIn(job.memory, 0, capacityOf(job.memory)) }, folders);
      case 'files':
        return readFiles(job, folders);
      case 'compress':
        return { kind: 'compressed', content: compressFrame(job.content, job.memory) };
      case 'place-frame':
        return { kind: 'frame-placed', isRight: placeFrame(job) };
      case 'verify':
        return verifyBlock(job);
      case 'list':
        return listFolders(job);
      case 'look':
        return lookAt(job);
    }
  } catch (error) {
    // Only calls of the file system and of zlib throw here, and those have a code.
    const { code = 'unknown', message } = error as NodeJS.ErrnoException;
    return { kind: 'failed', errno: code, message };
  }
}

function memoryOf(result: ReadResult): ArrayBuffer[] {
  if (result.kind === 'block' || result.kind === 'short') {
    return result.memory instanceof ArrayBuffer ? [result.memory] : [];
  }
  if (result.kind === 'looked') return [result.stats.buffer];
  if (result.kind !== 'compressed') return [];
  const { buffer } = result.content;
  return buffer instanceof ArrayBuffer ? [buffer] : [];
}

function readBlock({ fd, position, length, hashKey, memory }: ReadJob & { kind: 'block' }): ReadResult {
  const bytes = contentIn(memory, 0, length);
  const hash = createBlockHash(hashKey);
  for (let at = 0; at < length; at += PIECE_BYTES) {
    const piece = bytes.subarray(at, at + PIECE_BYTES);
    if (!readFully(fd, piece, position + at)) return { kind: 'short', memory };
    hash.update(piece);
  }
  return { kind: 'block', id: hash.digest(), memory };
}

function hashBlocks({ fd, position, lengths, hashKey }: ReadJob & { kind: 'hash' }): ReadResult {
  let start = position;
  const ids = lengths.map((length) => {
    const id = hashBlock(fd, start, length, hashKey);
    start += length;
    return id;
  });
  return { kind: 'hashed', ids };
}

function hashBlock(fd: number, start: number, length: number, hashKey: string): string | undefined {
  const hash = createBlockHash(hashKey);
  for (let at = 0; at < length; at += PIECE_BYTES) {
    const piece = scratch.subarray(0, Math.min(PIECE_BYTES, length - at));
    if (!readFully(fd, piece, start + at)) return undefined;
    hash.update(piece);
  }
  return hash.digest();
}

function readFiles(job: ReadJob & { kind: 'files' }, folders: FoldersOfRoots): ReadResult {
  const { paths, sizes, memory } = job;
  let start = 0;
  const found = paths.map((path, index) => {
    const room = contentIn(memory, start, sizes[index] ?? 0);
    start += room.length;
    try {
      const result = readFile({ ...job, path, room }, folders);
      return result.kind === 'file' && result.stat.size === room.length ? result : undefined;
    } catch {
      // Whoever reads it by itself finds out what it is.
      return undefined;
    }
  });
  return { kind: 'files', found };
}

interface SmallFile extends Pick<
  ReadJob & { kind: 'file' },
  'root' | 'path' | 'changedBeforeMs' | 'hashKey'
> {
  /** For its content. */
  readonly room: Buffer;
}

function readFile(
  { root, path, changedBeforeMs, room, hashKey }: SmallFile,
  folders: FoldersOfRoots,
): ReadResult & { kind: 'file' | 'not-so' } {
  const { folder, name } = splitPath(path);
  const fd = openSync(fsPath(folders.below(root).at(folder), name), FILE_FLAGS);
  try {
    const found = fstatSync(fd, { bigint: true });
    const stat = statOf(found);
    if (!found.isFile() || stat.size === 0 || stat.size > room.length)
      return { kind: 'not-so', isBusy: false };
    if (Number(stat.ctimeNs) / 1e6 > changedBeforeMs) return { kind: 'not-so', isBusy: true };
    const content = room.subarray(0, stat.size);
    if (!readFully(fd, content, 0) || !isUnwritten(fstatSync(fd, { bigint: true }), stat))
      return { kind: 'not-so', isBusy: true };
    return { kind: 'file', stat, id: blockIdOf(content, hashKey) };
  } finally {
    closeSync(fd);
  }
}

/** Files that are read together are mostly of one folder, which is opened once for them. */
interface FoldersOfRoots extends Disposable {
  below(root: string): FoldersBeneath;
}

function createFoldersOfRoots(): FoldersOfRoots {
  const known = new Map<string, FoldersBeneath>();
  return {
    below(root) {
      const found = known.get(root) ?? foldersBeneath(root);
      known.set(root, found);
      return found;
    },
    [Symbol.dispose]() {
      for (const folders of known.values()) folders[Symbol.dispose]();
    },
  };
}

function readFully(fd: number, bytes: Buffer, position: number): boolean {
  for (let at = 0; at < bytes.length;) {
    const count = readSync(fd, bytes, at, bytes.length - at, position + at);
    if (count === 0) return false;
    at += count;
  }
  return true;
}
