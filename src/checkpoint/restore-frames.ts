import type { FileHandle } from 'node:fs/promises';

import { forEachLimit } from '../base/concurrency.ts';
import { blockLength } from './block-size.ts';
import { corrupt, errorOf, fetchBlocks, RUNS_IN_FLIGHT, unlessGone } from './restore-blocks.ts';
import type { BlockContext } from './restore-blocks.ts';
import type { ManifestFile } from './schema.ts';

/** As `fetchBlocks`, whichever way the file is stored. */
export function fetchContent(
  context: BlockContext,
  file: ManifestFile,
  missing: readonly number[],
  handle: FileHandle,
  signal: AbortSignal,
): Promise<void> {
  return file.zstd === undefined
    ? fetchBlocks(context, file, missing, handle, signal)
    : fetchFrames(context, file, file.zstd, missing, handle, signal);
}

/** Each block is a frame of its own, so that any of them can be had without those before it. */
async function fetchFrames(
  context: BlockContext,
  file: ManifestFile,
  frameBytes: readonly number[],
  missing: readonly number[],
  handle: FileHandle,
  signal: AbortSignal,
): Promise<void> {
  const offsets: number[] = [];
  let end = 0;
  for (const bytes of frameBytes) {
    offsets.push(end);
    end += bytes;
  }
  await forEachLimit(missing, RUNS_IN_FLIGHT, signal, async (index, inner) => {
    const length = blockLength(file.size, file.blockSize, index);
    const range = { offset: offsets[index] ?? 0, count: frameBytes[index] ?? 0 };
    using _place = await context.gate.enter(length + range.count, inner);
    const read = { snapshot: file.snapshot, range, bytesMax: range.count };
    const frame = await unlessGone(context, file, () =>
      context.store.read(context.prefix + file.blob, read, inner),
    );
    const position = index * file.blockSize;
    const id = file.blocks[index] ?? '';
    const result = await context.reader.run({
      kind: 'place-frame',
      frame,
      id,
      hashKey: context.hashKey,
      length,
      fd: handle.fd,
      position,
    });
    if (result.kind !== 'frame-placed') throw errorOf(result);
    if (!result.isRight) throw corrupt(context, file, index);
    context.onBytes(length, 'store');
  });
}
