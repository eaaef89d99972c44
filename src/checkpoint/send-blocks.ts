import type { FileHandle } from 'node:fs/promises';

import { AssertionFailed } from '../base/assert.ts';
import { forEachLimit } from '../base/concurrency.ts';
import type { TaskGroup } from '../base/concurrency.ts';
import { sameBlocks } from './block-id.ts';
import { contentIn } from './block-memory.ts';
import { blockCount, blockLength } from './block-size.ts';
import { readError } from './file-error.ts';
import { isUnchanged } from './open-file.ts';
import type { FileStat } from './file-stat.ts';
import type { SendContext, SendMode } from './send-context.ts';
import { learnBlocks } from './stored-blobs.ts';
import type { StoredBlob } from './stored-blobs.ts';

/** A file whose blocks are being sent. */
export interface FileWork {
  readonly context: SendContext;
  readonly path: string;
  readonly handle: FileHandle;
  readonly blob: StoredBlob;
  readonly stat: FileStat;
  readonly blockSize: number;
  /** Its block ids, when only the store is what lacks them. */
  readonly known: readonly string[] | undefined;
  /** The ids of what it held when it was last read, cut in the same way. */
  readonly earlier: readonly string[] | undefined;
  readonly blocks: string[];
  /** Ids that are being sent. */
  readonly underWay: Set<string>;
  learning: Promise<void> | undefined;
  stored: number;
  /** All of it was read and found unchanged, before it was sent. */
  isWhole: boolean;
  halt: 'changed' | 'stopped' | undefined;
}

/** Blocks of a file that are looked at together, when they are expected to be as they were. */
const COMPARED_TOGETHER = 8;
/** Enough to keep all reading threads busy. */
const READS_IN_FLIGHT = 4;
/**
 * Below this a block list costs about as much time as sending the block again, so it isn't asked for.
 * Larger files are asked about first: blocks that somebody left in the store are never sent again.
 */
const ASK_BYTES_MIN = 128 * 1024;

/**
 * Finds out the ids of all blocks of `work`; what the store lacks is left to the group to be sent.
 * Ends early with the reason in `work.halt`.
 */
export async function readBlocks(work: FileWork, mode: SendMode, group: TaskGroup): Promise<void> {
  const together = work.earlier === undefined ? 1 : COMPARED_TOGETHER;
  const count = blockCount(work.stat.size, work.blockSize);
  const starts = Array.from({ length: Math.ceil(count / together) }, (_, run) => run * together);
  await forEachLimit(starts, READS_IN_FLIGHT, group.signal, async (start) => {
    const indexes = Array.from({ length: Math.min(together, count - start) }, (_, more) => start + more);
    if (isHalted(work, mode)) return;
    const unknown = indexes.filter((one) => !isKnown(work, one));
    for (const index of await missing(work, unknown, mode)) {
      if (isHalted(work, mode)) return;
      await readBlock(work, index, count, mode, group);
    }
  });
}

function isHalted(work: FileWork, mode: SendMode): boolean {
  if (mode.stop()) work.halt ??= 'stopped';
  return work.halt !== undefined;
}

/** The block needn't even be looked at. */
function isKnown(work: FileWork, index: number): boolean {
  const id = work.known?.[index];
  if (id === undefined || !work.blob.blocks.has(id)) return false;
  settle(work, index, id);
  return true;
}

/**
 * Those of `indexes`, which follow each other, whose content the store lacks. Most are expected to be as they were, so they
 * are read without keeping anything: what is to be sent is read once more.
 */
async function missing(
  work: FileWork,
  indexes: readonly number[],
  mode: SendMode,
): Promise<readonly number[]> {
  const { context, earlier, known, handle, stat, blockSize } = work;
  const [first] = indexes;
  // Of a blob that nothing is known of, no block can be left out.
  const isOfUse = earlier !== undefined && work.blob.blocks.size > 0;
  if (!isOfUse || first === undefined || first >= earlier.length) return indexes;
  const end = (indexes.at(-1) ?? first) + 1;
  const all = Array.from({ length: end - first }, (_, more) => first + more);
  const lengths = all.map((index) => blockLength(stat.size, blockSize, index));
  const bytes = lengths.reduce((sum, length) => sum + length, 0);
  await context.transfer.compare(bytes);
  if (isHalted(work, mode)) return [];
  const result = await context.reader.run({
    kind: 'hash',
    fd: handle.fd,
    position: first * blockSize,
    lengths,
    hashKey: context.index.hashKey,
  });
  if (result.kind === 'failed') throw readError(result, work.path);
  if (result.kind !== 'hashed') throw new AssertionFailed(`blocks to hash were answered by ${result.kind}`);
  context.onRead(bytes);
  return indexes.filter((index) => {
    const id = result.ids[index - first];
    const isAsKnown = known?.[index] === undefined || known[index] === id;
    if (id === undefined || !isAsKnown || !work.blob.blocks.has(id)) return true;
    settle(work, index, id);
    return false;
  });
}

async function readBlock(
  work: FileWork,
  index: number,
  count: number,
  mode: SendMode,
  group: TaskGroup,
): Promise<void> {
  const { context, blockSize, known } = work;
  const length = blockLength(work.stat.size, blockSize, index);
  const place = await context.transfer.hold(length, group.signal);
  let isHandedOver = false;
  try {
    // The wait for memory may have been long.
    if (isHalted(work, mode)) return undefined;
    const result = await context.reader.run({
      kind: 'block',
      fd: work.handle.fd,
      position: index * blockSize,
      length,
      hashKey: context.index.hashKey,
      memory: context.transfer.memory(length),
    });
    if (result.kind === 'failed') throw readError(result, work.path);
    if (result.kind === 'short') {
      work.halt ??= 'changed';
      return context.transfer.reuse(result.memory);
    }
    if (result.kind !== 'block') throw new AssertionFailed(`a block was answered by ${result.kind}`);
    const { id, memory } = result;
    context.onRead(length);
    if (known?.[index] !== undefined && known[index] !== id) {
      work.halt ??= 'changed';
      return context.transfer.reuse(memory);
    }
    const body = contentIn(memory, 0, length);
    // The same content again in this file: one block in the store stands for both.
    if ((await isStored(work, id, count, group.signal)) || work.underWay.has(id)) {
      context.transfer.reuse(memory);
    } else if (count === 1 && mode.put !== undefined && (await isUnchanged(work.handle, work.stat))) {
      work.isWhole = true;
      await sendWhole(work, mode.put, id, body, group.signal);
      context.transfer.reuse(memory);
    } else {
      work.underWay.add(id);
      isHandedOver = true;
      work.blocks[index] = id;
      return group.run(async (signal) => {
        using _place = place;
        await stageBlock(work, id, body, signal);
        context.transfer.reuse(memory);
      });
    }
    settle(work, index, id);
  } finally {
    if (!isHandedOver) place[Symbol.dispose]();
  }
  return undefined;
}

export async function isStored(
  work: Pick<FileWork, 'context' | 'blob' | 'stat'> & { learning: Promise<void> | undefined },
  id: string,
  count: number,
  signal: AbortSignal,
): Promise<boolean> {
  const { context, blob, stat } = work;
  const has = () => blob.blocks.has(id) || (count === 1 && sameBlocks(blob.content, [id]));
  if (has()) return true;
  if (!isWorthAsking(blob, stat.size)) return false;
  await (work.learning ??= learnBlocks(
    context.store,
    context.prefix,
    blob,
    count === 1 ? [id] : undefined,
    signal,
  ));
  return has();
}

/** Whether the service knows something of a blob that a file of `size` bytes should not be sent without. */
export function isWorthAsking(blob: StoredBlob, size: number): boolean {
  return size >= ASK_BYTES_MIN && !blob.listed;
}

export async function sendWhole(
  work: Pick<FileWork, 'context' | 'blob'>,
  put: NonNullable<SendMode['put']>,
  id: string,
  body: Uint8Array,
  signal: AbortSignal,
): Promise<void> {
  await work.context.transfer.send(body.length, () => put(work.blob, id, body, signal));
  work.context.onSent(body.length);
}

async function stageBlock(work: FileWork, id: string, body: Uint8Array, signal: AbortSignal): Promise<void> {
  await stageOne(work, id, body, signal);
  noteStored(work, body.length);
}

export async function stageOne(
  { context, blob }: Pick<FileWork, 'context' | 'blob'>,
  id: string,
  body: Uint8Array,
  signal: AbortSignal,
): Promise<void> {
  await context.transfer.send(body.length, () =>
    context.store.stageBlock(context.prefix + blob.name, id, body, signal),
  );
  blob.blocks.add(id);
  context.onSent(body.length);
}

/** The store has the block. */
function settle(work: FileWork, index: number, id: string): void {
  work.blocks[index] = id;
  noteStored(work, blockLength(work.stat.size, work.blockSize, index));
}

function noteStored(work: FileWork, bytes: number): void {
  work.stored += bytes;
  work.context.onStored(work.path, work.stored);
}
