import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';

import { sleep } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { createGroup } from '../base/concurrency.ts';
import type { TaskGroup } from '../base/concurrency.ts';
import { isErrno } from '../base/errors.ts';
import { blockIdOf, sameBlocks } from './block-id.ts';
import { blockCount, blockLength, blockSizeOf } from './block-size.ts';
import { fileChanging, fileError } from './file-error.ts';
import type { FileIndex } from './file-index.ts';
import { fsPath } from './path-name.ts';
import { sameStat, statOf } from './scan.ts';
import type { FileStat, ScannedFile } from './scan.ts';
import type { BlobStore } from './store.ts';
import { learnBlocks } from './stored-blobs.ts';
import type { StoredBlob } from './stored-blobs.ts';
import type { Transfer } from './transfer.ts';

export interface SendContext {
  readonly root: string;
  /** `PREFIX/KEY/SET/`. */
  readonly prefix: string;
  readonly store: BlobStore;
  readonly transfer: Transfer;
  readonly clock: Clock;
  readonly index: FileIndex;
  readonly blobOf: (path: string) => StoredBlob;
  /** `bytes` of the file, in total, are in the store. */
  readonly onStored: (path: string, bytes: number) => void;
  readonly onFileRead: () => void;
  readonly onRead: (bytes: number) => void;
  readonly onSent: (bytes: number) => void;
}

/** One consistent version of a file, all of whose blocks the store has. */
export interface FileVersion {
  readonly path: string;
  readonly stat: FileStat;
  readonly blockSize: number;
  readonly blocks: readonly string[];
}

export interface SendMode {
  /** Asked at each block: true ends the work early, keeping what was sent. */
  readonly stop: () => boolean;
  /** How often a file that changes while it is read is read. */
  readonly readsMax: number;
  /** What then: `leave` it for later, or `fail`. */
  readonly changing: 'leave' | 'fail';
  /** Where given, a file of one block goes by it in one request instead of being staged. */
  readonly put?: (blob: StoredBlob, id: string, body: Uint8Array, signal: AbortSignal) => Promise<void>;
}

/**
 * Below this a block list costs about as much time as sending the block again, so it isn't asked for.
 * Larger files are asked about first: blocks that somebody left in the store are never sent again.
 */
const ASK_BYTES_MIN = 128 * 1024;

/**
 * Coarse kernel clocks stamp a file every 4 to 10 ms: a second write within that time leaves no trace in its times.
 * A file that was written so recently is read a moment later.
 */
const TICK_MS = 20;

/**
 * Sends the blocks of a file that the store lacks. Undefined when stopped, when the file is gone, or left.
 * Throws `file-changing` (it changed each time it was read), `file-unreadable`, or what the store rejects with.
 */
export async function sendFile(
  context: SendContext,
  file: ScannedFile,
  mode: SendMode,
  signal: AbortSignal,
): Promise<FileVersion | undefined> {
  const known = knownVersion(context, file);
  if (known !== undefined) return known;
  for (let reads = 0; reads < mode.readsMax; reads++) {
    await using handle = await openFile(context, file.path);
    if (handle === undefined) return undefined;
    context.onFileRead();
    const outcome = await sendOpenFile(context, file.path, handle, mode, signal);
    if (outcome === 'stopped') return undefined;
    if (outcome !== 'changed') return outcome;
  }
  if (mode.changing === 'leave') return undefined;
  throw fileChanging(context.root, file.path);
}

/** The version of a file that needn't be read: unchanged, and the store has all of it. */
export function knownVersion(context: SendContext, file: ScannedFile): FileVersion | undefined {
  const entry = context.index.unchanged(file.path, file.stat);
  if (entry === undefined) return undefined;
  const blob = context.blobOf(file.path);
  const { blockSize, blocks } = entry;
  if (!sameBlocks(blob.content, blocks) && !blocks.every((id) => blob.blocks.has(id))) return undefined;
  context.onStored(file.path, file.stat.size);
  return { path: file.path, stat: file.stat, blockSize, blocks };
}

async function openFile(context: SendContext, path: string): Promise<FileHandle | undefined> {
  try {
    // Not through a link that took its place, and not waiting for the other end of a pipe.
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    return await open(fsPath(context.root, path), flags);
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO')) return undefined;
    throw fileError(error, path);
  }
}

type Outcome = FileVersion | 'changed' | 'stopped';

async function sendOpenFile(
  context: SendContext,
  path: string,
  handle: FileHandle,
  mode: SendMode,
  signal: AbortSignal,
): Promise<Outcome> {
  const first = await handle.stat({ bigint: true });
  if (!first.isFile()) return 'changed';
  const stat = statOf(first);
  await settleTimes(context.clock, stat, signal);
  const readAtMs = context.clock.wallMs();
  const blob = context.blobOf(path);
  const blockSize = blockSizeOf(stat.size, context.index.blockSize(path) ?? blob.blockSize);
  const work: FileWork = {
    context,
    path,
    handle,
    blob,
    stat,
    blockSize,
    known: context.index.unchanged(path, stat)?.blocks,
    stored: 0,
  };
  const group = createGroup(signal);
  let blocks: readonly string[] | 'changed' | 'stopped' = 'stopped';
  try {
    blocks = await sendBlocks(work, mode, group);
  } catch (error) {
    group.abort(error);
  }
  await group.settled();
  if (blocks === 'changed' || blocks === 'stopped') return blocks;
  if (!(await isUnchanged(handle, stat))) return 'changed';
  context.index.set(path, { stat, readAtMs, blockSize, blocks });
  return { path, stat, blockSize, blocks };
}

interface FileWork {
  readonly context: SendContext;
  readonly path: string;
  readonly handle: FileHandle;
  readonly blob: StoredBlob;
  readonly stat: FileStat;
  readonly blockSize: number;
  /** Its block ids, when only the store is what lacks them. */
  readonly known: readonly string[] | undefined;
  stored: number;
}

/** Reads block after block and leaves the sending to the group. */
async function sendBlocks(work: FileWork, mode: SendMode, group: TaskGroup) {
  const { context, blob, stat, blockSize } = work;
  const blocks: string[] = [];
  const underWay = new Set<string>();
  const count = blockCount(stat.size, blockSize);
  for (let index = 0; index < count; index++) {
    if (mode.stop()) return 'stopped';
    const length = blockLength(stat.size, blockSize, index);
    const known = work.known?.[index];
    if (known !== undefined && blob.blocks.has(known)) {
      blocks.push(known);
      noteStored(work, length);
      continue;
    }
    const buffer = await context.transfer.buffer(length, group.signal);
    let handedOver = false;
    let state: 'clean' | 'spoiled' = 'clean';
    try {
      if (!(await readFully(work, buffer.bytes, index * blockSize))) return 'changed';
      const id = blockIdOf(buffer.bytes);
      if (known !== undefined && known !== id) return 'changed';
      blocks.push(id);
      if (await isStored(work, id, count, group.signal)) {
        noteStored(work, length);
      } else if (underWay.has(id)) {
        // The same content again in this file: one block in the store stands for both.
        noteStored(work, length);
      } else if (count === 1 && mode.put !== undefined) {
        if (!(await isUnchanged(work.handle, stat))) return 'changed';
        state = 'spoiled';
        await sendWhole(work, mode.put, id, buffer.bytes, group.signal);
        state = 'clean';
      } else {
        underWay.add(id);
        handedOver = true;
        group.run((signal) => stageBlock(work, id, buffer, signal));
      }
    } finally {
      if (!handedOver) buffer.release(state);
    }
  }
  return blocks;
}

async function isStored(work: FileWork, id: string, count: number, signal: AbortSignal): Promise<boolean> {
  const { context, blob, stat } = work;
  const has = () => blob.blocks.has(id) || (count === 1 && sameBlocks(blob.content, [id]));
  if (has()) return true;
  if (stat.size < ASK_BYTES_MIN) return false;
  await learnBlocks(context.store, context.prefix, blob, count === 1 ? [id] : undefined, signal);
  return has();
}

async function sendWhole(
  work: FileWork,
  put: NonNullable<SendMode['put']>,
  id: string,
  body: Uint8Array,
  signal: AbortSignal,
): Promise<void> {
  await work.context.transfer.send(body.length, () => put(work.blob, id, body, signal));
  work.context.onSent(body.length);
  noteStored(work, body.length);
}

async function stageBlock(
  work: FileWork,
  id: string,
  buffer: Awaited<ReturnType<Transfer['buffer']>>,
  signal: AbortSignal,
): Promise<void> {
  const { context, blob } = work;
  const { length } = buffer.bytes;
  let sent = false;
  try {
    await context.transfer.send(length, () =>
      context.store.stageBlock(context.prefix + blob.name, id, buffer.bytes, signal),
    );
    sent = true;
  } finally {
    // A failed request may go on reading for a moment; its buffer must not get another block's content.
    buffer.release(sent ? 'clean' : 'spoiled');
  }
  blob.blocks.add(id);
  context.onSent(length);
  noteStored(work, length);
}

function noteStored(work: FileWork, bytes: number): void {
  work.stored += bytes;
  work.context.onStored(work.path, work.stored);
}

/** False when the file is shorter than it was. */
async function readFully(work: FileWork, bytes: Buffer, position: number): Promise<boolean> {
  for (let at = 0; at < bytes.length;) {
    let bytesRead: number;
    try {
      ({ bytesRead } = await work.handle.read(bytes, at, bytes.length - at, position + at));
    } catch (error) {
      throw fileError(error, work.path);
    }
    if (bytesRead === 0) return false;
    at += bytesRead;
  }
  work.context.onRead(bytes.length);
  return true;
}

async function isUnchanged(handle: FileHandle, stat: FileStat): Promise<boolean> {
  return sameStat(statOf(await handle.stat({ bigint: true })), stat);
}

async function settleTimes(clock: Clock, stat: FileStat, signal: AbortSignal): Promise<void> {
  const ageMs = clock.wallMs() - Number(stat.ctimeNs) / 1e6;
  // A time in the future says that the clock was stepped; waiting for it would have no bound.
  if (ageMs >= 0 && ageMs < TICK_MS) await sleep(clock, TICK_MS - ageMs, signal);
}
