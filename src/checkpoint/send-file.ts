import type { FileHandle } from 'node:fs/promises';

import type { Clock } from '../base/clock.ts';
import { createGroup } from '../base/concurrency.ts';
import type { TaskGroup } from '../base/concurrency.ts';
import { blockIdOf, sameBlocks } from './block-id.ts';
import { blockCount, blockLength, blockSizeOf } from './block-size.ts';
import { fileChanging } from './file-error.ts';
import type { FileIndex } from './file-index.ts';
import { isUnchanged, openFile, readFully, settledStat } from './open-file.ts';
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
  let earlier: FileVersion | undefined;
  for (let reads = 0; reads < mode.readsMax; reads++) {
    await using handle = await openFile(context.root, file.path);
    if (handle === undefined) return undefined;
    context.onFileRead();
    const outcome = await sendOpenFile(context, file.path, handle, mode, earlier?.stat.size, signal);
    if (outcome === 'stopped') return undefined;
    if (outcome === 'changed') continue;
    if (!outcome.moving || isSameAs(outcome.version, earlier)) return outcome.version;
    earlier = outcome.version;
  }
  if (mode.changing === 'leave') return undefined;
  throw fileChanging(context.root, file.path);
}

/**
 * Written to while it was read, but two readings one after the other found the same: then that was its content at the
 * moment between them. So a log that only grows can be had, up to the length that it had at the first reading.
 */
function isSameAs(version: FileVersion, earlier: FileVersion | undefined): boolean {
  return earlier?.stat.size === version.stat.size && sameBlocks(earlier.blocks, version.blocks);
}

/** The version of a file that needn't be read: unchanged, and the store has all of it. */
function knownVersion(context: SendContext, file: ScannedFile): FileVersion | undefined {
  const entry = context.index.unchanged(file.path, file.stat);
  if (entry === undefined || !isWhollyStored(context, file.path, entry.blocks)) return undefined;
  const { blockSize, blocks } = entry;
  context.onStored(file.path, file.stat.size);
  return { path: file.path, stat: file.stat, blockSize, blocks };
}

/** As far as can be told without reading the file: good enough for an estimate. */
export function likelyStored(context: SendContext, file: ScannedFile): boolean {
  const entry = context.index.likely(file.path, file.stat);
  return entry !== undefined && isWhollyStored(context, file.path, entry.blocks);
}

function isWhollyStored(context: SendContext, path: string, blocks: readonly string[]): boolean {
  const blob = context.blobOf(path);
  return sameBlocks(blob.content, blocks) || blocks.every((id) => blob.blocks.has(id));
}

/** `moving`: it was written to while it was read. */
type Outcome = { readonly version: FileVersion; readonly moving: boolean } | 'changed' | 'stopped';

async function sendOpenFile(
  context: SendContext,
  path: string,
  handle: FileHandle,
  mode: SendMode,
  sizeMax: number | undefined,
  signal: AbortSignal,
): Promise<Outcome> {
  const found = await settledStat(handle, context.clock, signal);
  if (found === undefined) return 'changed';
  const stat = { ...found, size: Math.min(found.size, sizeMax ?? found.size) };
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
    isWhole: false,
  };
  const group = createGroup(signal);
  let blocks: readonly string[] | 'changed' | 'stopped' = 'stopped';
  let moving = false;
  try {
    blocks = await sendBlocks(work, mode, group);
    // All is read now; what happens to the file while the rest is sent is the next look's business.
    moving = stat.size < found.size || !(work.isWhole || (await isUnchanged(handle, found)));
  } catch (error) {
    group.abort(error);
  }
  await group.settled();
  if (blocks === 'changed' || blocks === 'stopped') return blocks;
  if (!moving) context.index.set(path, { stat, readAtMs, blockSize, blocks });
  return { version: { path, stat, blockSize, blocks }, moving };
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
  /** All of it was read and found unchanged, before it was sent. */
  isWhole: boolean;
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
      if (!(await readFully(work.handle, work.path, buffer.bytes, index * blockSize))) return 'changed';
      context.onRead(length);
      const id = blockIdOf(buffer.bytes);
      if (known !== undefined && known !== id) return 'changed';
      blocks.push(id);
      if (await isStored(work, id, count, group.signal)) {
        noteStored(work, length);
      } else if (underWay.has(id)) {
        // The same content again in this file: one block in the store stands for both.
        noteStored(work, length);
      } else if (count === 1 && mode.put !== undefined && (await isUnchanged(work.handle, stat))) {
        work.isWhole = true;
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
