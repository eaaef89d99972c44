import { blockSizeOf, SMALL_BYTES_MAX } from './block-size.ts';
import { TICK_MS } from './open-file.ts';
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
  const { size } = file.stat;
  const blob = context.blobOf(path);
  const blockSize = blockSizeOf(size, context.index.blockSize(path) ?? blob.blockSize);
  if (size === 0 || size > Math.min(SMALL_BYTES_MAX, blockSize)) return undefined;
  using _place = await context.transfer.hold(size, signal);
  if (mode.stop()) return undefined;
  const readAtMs = context.clock.wallMs();
  const memory = context.transfer.smallMemory();
  const result = await context.reader.run({
    kind: 'file',
    root: context.location,
    path,
    size,
    changedBeforeMs: readAtMs - TICK_MS,
    memory,
  });
  if (result.kind !== 'file') {
    context.transfer.reuse(memory);
    return undefined;
  }
  const { stat, id } = result;
  const known = context.index.unchanged(path, stat)?.blocks[0];
  if (known !== undefined && known !== id) {
    context.transfer.reuse(memory);
    return undefined;
  }
  context.onFileRead();
  context.onRead(size);
  const work = { context, blob, stat, learning: undefined };
  const body = Buffer.from(memory, 0, size);
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
