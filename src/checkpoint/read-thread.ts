/**
 * The entry of a reading thread. Reads and hashes without a pause, which the main thread must never do; it ends when
 * it is terminated. Imports what small and free of packages: it is built into a text of its own.
 */
import { createHash } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';

import { FILE_FLAGS, foldersBeneath } from './beneath.ts';
import { createFingerprinter } from './fingerprint.ts';
import type { Fingerprinter } from './fingerprint.ts';
import { createFetcher } from './fetch-thread.ts';
import type { FetchJob, ReadAnswers, ReadJob, ReadMessage, ReadResult } from './read-job.ts';
import { fsPath, splitPath } from './path-name.ts';
import { placeFrame, verifyBlock } from './restore-thread.ts';
import { listFolders, lookAt } from './scan-thread.ts';
import { isUnwritten, statOf } from './file-stat.ts';
import { compressFrame } from './zstd-frame.ts';

/** What is read stays in the processor's cache until it is hashed: twice as fast as block by block. */
const PIECE_BYTES = 256 * 1024;

const ZEROS = Buffer.alloc(PIECE_BYTES);

interface Marks {
  readonly id: string;
  readonly fingerprint: string;
}

/** By key and length, of blocks of zeros. */
const zeroMarks = new Map<string, Marks>();
const ZERO_MARKS_MAX = 100;

const scratch = Buffer.allocUnsafeSlow(PIECE_BYTES);

const fetcher = createFetcher();

parentPort?.on('message', (message: ReadMessage) => {
  if (message.kind === 'cancel') fetcher.cancel(message.order);
  else answer(message.orders.flatMap(([number, job]) => take(number, job)));
});

function answer(answers: ReadAnswers): void {
  if (answers.length === 0) return;
  const moved = answers.flatMap(([, result]) => memoryOf(result));
  parentPort?.postMessage(answers, moved);
}

/** Answers what can be answered at once. */
function take(number: number, job: ReadJob): ReadAnswers {
  if (job.kind !== 'fetch') return [[number, perform(job)]];
  fetcher.start(number, job, (result) => answer([[number, result]]));
  return [];
}

/** What a thread does for a job that it can answer at once. */
export function perform(job: Exclude<ReadJob, FetchJob>): ReadResult {
  try {
    switch (job.kind) {
      case 'block':
        return readBlock(job);
      case 'compare':
        return compare(job);
      case 'file':
        return readFile(job);
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

function readBlock({ fd, position, length, key, memory }: ReadJob & { kind: 'block' }): ReadResult {
  const bytes = Buffer.from(memory, 0, length);
  const marks = createMarks(key, length);
  for (let at = 0; at < length; at += PIECE_BYTES) {
    const piece = bytes.subarray(at, at + PIECE_BYTES);
    if (!readFully(fd, piece, position + at)) return { kind: 'short', memory };
    marks.update(piece);
  }
  return { kind: 'block', ...marks.digest(), memory };
}

/** Id and fingerprint of a block. Nothing but zeros, as in the holes of a sparse file, is only worked out once. */
function createMarks(key: string, length: number) {
  const hash = createHash('sha256');
  const fingerprinter = createFingerprinter(Buffer.from(key, 'base64'));
  let zerosBefore = 0;
  let isZero = true;
  const add = (piece: Uint8Array) => {
    hash.update(piece);
    fingerprinter.update(piece);
  };
  const catchUp = () => {
    for (; zerosBefore > 0; zerosBefore -= Math.min(zerosBefore, PIECE_BYTES)) {
      add(ZEROS.subarray(0, Math.min(zerosBefore, PIECE_BYTES)));
    }
    isZero = false;
  };
  return {
    update(piece: Uint8Array) {
      if (isZero && ZEROS.compare(piece, 0, piece.length, 0, piece.length) === 0) {
        zerosBefore += piece.length;
        return;
      }
      catchUp();
      add(piece);
    },
    digest(): Marks {
      const name = `${key} ${length}`;
      const known = isZero ? zeroMarks.get(name) : undefined;
      if (known !== undefined) return known;
      const isNew = isZero;
      catchUp();
      const marks = { id: hash.digest('base64'), fingerprint: fingerprinter.digest() };
      if (isNew && zeroMarks.size < ZERO_MARKS_MAX) zeroMarks.set(name, marks);
      return marks;
    },
  };
}

function compare({ fd, position, lengths, fingerprints, key }: ReadJob & { kind: 'compare' }): ReadResult {
  const secret = Buffer.from(key, 'base64');
  let start = position;
  const found = lengths.map((length) => {
    const fingerprint = fingerprintOf(createFingerprinter(secret), fd, start, length);
    start += length;
    return fingerprint;
  });
  const same = found.map(
    (fingerprint, index) => fingerprint !== undefined && fingerprint === fingerprints[index],
  );
  return { kind: 'compared', same, fingerprints: found };
}

function fingerprintOf(into: Fingerprinter, fd: number, start: number, length: number): string | undefined {
  for (let at = 0; at < length; at += PIECE_BYTES) {
    const piece = scratch.subarray(0, Math.min(PIECE_BYTES, length - at));
    if (!readFully(fd, piece, start + at)) return undefined;
    into.update(piece);
  }
  return into.digest();
}

function readFile({ root, path, changedBeforeMs, memory }: ReadJob & { kind: 'file' }): ReadResult {
  const fd = openBeneath(root, path);
  try {
    const found = fstatSync(fd, { bigint: true });
    const stat = statOf(found);
    if (!found.isFile() || stat.size === 0 || stat.size > memory.byteLength)
      return { kind: 'not-so', isBusy: false };
    if (Number(stat.ctimeNs) / 1e6 > changedBeforeMs) return { kind: 'not-so', isBusy: true };
    const content = Buffer.from(memory, 0, stat.size);
    if (!readFully(fd, content, 0) || !isUnwritten(fstatSync(fd, { bigint: true }), stat))
      return { kind: 'not-so', isBusy: true };
    return { kind: 'file', stat, id: createHash('sha256').update(content).digest('base64') };
  } finally {
    closeSync(fd);
  }
}

function openBeneath(root: string, path: string): number {
  const { folder, name } = splitPath(path);
  using beneath = foldersBeneath(root);
  return openSync(fsPath(beneath.at(folder), name), FILE_FLAGS);
}

function readFully(fd: number, bytes: Buffer, position: number): boolean {
  for (let at = 0; at < bytes.length;) {
    const count = readSync(fd, bytes, at, bytes.length - at, position + at);
    if (count === 0) return false;
    at += count;
  }
  return true;
}
