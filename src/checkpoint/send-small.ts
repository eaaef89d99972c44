import { sleep } from '../base/abort.ts';
import { contentIn } from './block-memory.ts';
import { blockSizeOf, SMALL_BYTES_MAX } from './block-size.ts';
import { LOOKS_MAX, TICK_MS } from './open-file.ts';
import type { ScannedFile } from './scan.ts';
import { isStored, sendWhole, stageOne } from './send-blocks.ts';
import type { FileVersion, SendContext, SendMode } from './send-context.ts';

/**
 * Sends a small file that holds still, which nearly all do: one message to a reading thread and one request.
 * Undefined when it is to be had with more care only; see sendFile.
 */
export async function sendSmall(
  context: SendContext,
  file: ScannedFile,
  mode: SendMode,
  signal: AbortSignal,
): Promise<FileVersion | undefined> {
  const { path } = file;
  const blob = context.blobOf(path);
  const blockSize = smallBlockSize(context, path, file.stat.size);
  if (blockSize === undefined) return undefined;
  using _place = await context.transfer.hold(file.stat.size, signal);
  const memory = context.transfer.smallMemory();
  const found = await readSmall(context, path, mode, memory, signal);
  if (found === undefined) {
    context.transfer.reuse(memory);
    return undefined;
  }
  const { stat, id, readAtMs } = found;
  const { size } = stat;
  const known = context.index.unchanged(path, stat)?.blocks[0];
  if (known !== undefined && known !== id) {
    context.transfer.reuse(memory);
    return undefined;
  }
  context.onFileRead();
  context.onRead(size);
  const work = { context, blob, stat, learning: undefined };
  const body = contentIn(memory, 0, size);
  if (!(await isStored(work, id, 1, signal))) {
    await (mode.put === undefined
      ? stageOne(work, id, body, signal)
      : sendWhole(work, mode.put, id, body, signal));
  }
  context.transfer.reuse(memory);
  context.onStored(path, size);
  context.index.set(path, { stat, readAtMs, blockSize, blocks: [id] });
  return { stat, blockSize, blocks: [id] };
}

/** Undefined: the file isn't small, or its blocks are smaller. */
export function smallBlockSize(context: SendContext, path: string, size: number): number | undefined {
  if (size === 0 || size > SMALL_BYTES_MAX) return undefined;
  const blockSize = blockSizeOf(size, context.index.last(path)?.blockSize ?? context.blobOf(path).blockSize);
  return blockSize < SMALL_BYTES_MAX ? undefined : blockSize;
}

/** What is written to many times a second is had between two writes. */
async function readSmall(
  { reader, location, clock, index }: SendContext,
  path: string,
  mode: SendMode,
  memory: SharedArrayBuffer,
  signal: AbortSignal,
) {
  for (let looks = 1; !mode.stop(); looks++) {
    const readAtMs = clock.wallMs();
    const changedBeforeMs = readAtMs - TICK_MS;
    const { hashKey } = index;
    const job = { kind: 'file', root: location, path, changedBeforeMs, memory, hashKey } as const;
    const result = await reader.run(job);
    if (result.kind === 'file') return { ...result, readAtMs };
    if (result.kind !== 'not-so' || !result.isBusy || looks === LOOKS_MAX) return undefined;
    await sleep(clock, TICK_MS, signal);
  }
  return undefined;
}
