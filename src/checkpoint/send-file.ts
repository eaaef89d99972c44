import type { FileHandle } from 'node:fs/promises';

import { createGroup } from '../base/concurrency.ts';
import { sameBlocks } from './block-id.ts';
import { blockSizeOf } from './block-size.ts';
import { fileChanging } from './file-error.ts';
import { isUnwritten } from './file-stat.ts';
import type { FileStat } from './file-stat.ts';
import { openFile, settledStat } from './open-file.ts';
import type { ScannedFile } from './scan.ts';
import { readBlocks } from './send-blocks.ts';
import type { FileWork } from './send-blocks.ts';
import type { FileVersion, SendContext, SendMode } from './send-context.ts';
import { sendSmall } from './send-small.ts';

export type { FileVersion, SendContext, SendMode } from './send-context.ts';

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
  if (known !== undefined) {
    context.onStored(file.path, file.stat.size);
    return known;
  }
  const small = mode.stop() ? undefined : await sendSmall(context, file, mode, signal);
  if (small !== undefined) return small;
  let earlier: Reading | undefined;
  for (let reads = 0; reads < mode.readsMax; reads++) {
    await using handle = await openFile(context.location, file.path);
    if (handle === undefined) return undefined;
    context.onFileRead();
    const start = earlier?.since === 'grown' ? earlier.version.stat : undefined;
    const outcome = await sendOpenFile(context, file.path, handle, mode, start, signal);
    if (outcome === 'stopped') return undefined;
    if (outcome === 'changed') continue;
    if (outcome.since === 'unwritten' || isSameAs(outcome.version, earlier?.version)) return outcome.version;
    earlier = outcome;
  }
  if (mode.changing === 'leave') return undefined;
  throw fileChanging(context.root, file.path);
}

/**
 * Written to while it was read, but two readings one after the other found the same: then that was its content at the
 * moment between them. So a log that only grows can be had: of one that grew during the first reading, the second goes
 * as far as the first, without what was appended meanwhile, and without the times of that. A file that was written to
 * without growing had another content at the time of the first.
 */
function isSameAs(version: FileVersion, earlier: FileVersion | undefined): boolean {
  return earlier?.stat.size === version.stat.size && sameBlocks(earlier.blocks, version.blocks);
}

/** The version of a file that needn't be read: unchanged, and the store has all of it. */
export function knownVersion(context: SendContext, file: ScannedFile): FileVersion | undefined {
  const entry = context.index.unchanged(file.path, file.stat);
  return entry !== undefined && isWhollyStored(context, file.path, entry.blocks) ? entry : undefined;
}

/** The version that was read last, where the store has all of it, whatever the file is now. */
export function lastVersion(context: SendContext, path: string): FileVersion | undefined {
  const entry = context.index.last(path);
  return entry !== undefined && isWhollyStored(context, path, entry.blocks) ? entry : undefined;
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

/** `since`: what happened to the file while it was read, as far as its size and times tell. */
interface Reading {
  readonly version: FileVersion;
  readonly since: 'unwritten' | 'grown' | 'written';
}

/** With `start`, of a longer file only what it was then. */
async function sendOpenFile(
  context: SendContext,
  path: string,
  handle: FileHandle,
  mode: SendMode,
  start: FileStat | undefined,
  signal: AbortSignal,
): Promise<Reading | 'changed' | 'stopped'> {
  const found = await settledStat(handle, context.clock, signal);
  if (found === undefined) return 'changed';
  const isMore = start !== undefined && found.size > start.size;
  const stat = isMore ? start : found;
  const readAtMs = context.clock.wallMs();
  const blob = context.blobOf(path);
  const earlier = context.index.last(path);
  const blockSize = blockSizeOf(stat.size, earlier?.blockSize ?? blob.blockSize);
  const work: FileWork = {
    context,
    path,
    handle,
    blob,
    stat,
    blockSize,
    known: context.index.unchanged(path, stat)?.blocks,
    earlier: earlier?.blockSize === blockSize ? earlier.blocks : undefined,
    blocks: [],
    underWay: new Set(),
    learning: undefined,
    stored: 0,
    isWhole: false,
    halt: undefined,
  };
  const group = createGroup(signal);
  let since: Reading['since'] = 'unwritten';
  try {
    await readBlocks(work, mode, group);
    // All is read now; what happens to the file while the rest is sent is the next look's business.
    if (isMore) since = 'written';
    else if (!work.isWhole) since = await sinceStat(handle, found);
  } catch (error) {
    group.abort(error);
  }
  await group.settled();
  if (work.halt !== undefined) return work.halt;
  const { blocks } = work;
  if (since === 'unwritten') context.index.set(path, { stat, readAtMs, blockSize, blocks });
  return { version: { stat, blockSize, blocks }, since };
}

async function sinceStat(handle: FileHandle, stat: FileStat): Promise<Reading['since']> {
  const now = await handle.stat({ bigint: true });
  if (isUnwritten(now, stat)) return 'unwritten';
  return Number(now.size) > stat.size ? 'grown' : 'written';
}
