import { writeSync } from 'node:fs';

import { blockIdOf } from '../../src/checkpoint/block-id.ts';
import type { DownloadOptions } from '../../src/checkpoint/store.ts';

/** What `BlobStore.download` does with the content, which may be shorter than asked for. */
export function placeBlocks(content: Uint8Array, options: DownloadOptions): number | undefined {
  const { fd, offset, blocks, lengths, hashKey } = options;
  if (writeSync(fd, content, 0, content.length, offset) < content.length)
    throw Object.assign(new Error('no space left'), { code: 'ENOSPC' });
  let end = 0;
  const wrong = blocks.findIndex((id, index) => {
    const block = content.subarray(end, (end += lengths[index] ?? 0));
    return block.length !== lengths[index] || blockIdOf(block, hashKey) !== id;
  });
  return wrong === -1 ? undefined : wrong;
}
