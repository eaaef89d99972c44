import fc from 'fast-check';
import { expect, test } from 'vitest';

import { BLOCKS_MAX, blockCount, blockLength, blockSizeOf } from '../../src/checkpoint/block-size.ts';

const MIB = 1024 ** 2;
const GIB = 1024 ** 3;

test.each([
  [0, undefined, 4 * MIB],
  [97 * GIB, undefined, 4 * MIB],
  [98 * GIB, undefined, 8 * MIB],
  [1024 * GIB, undefined, 64 * MIB],
  // It grew: kept as long as its blocks can be counted.
  [195 * GIB, 4 * MIB, 4 * MIB],
  [196 * GIB, 4 * MIB, 16 * MIB],
  // It shrank: kept, or all of it would be sent again.
  [1, 64 * MIB, 64 * MIB],
])('%d bytes, cut with %s before: %d', (size, previous, expected) => {
  expect(blockSizeOf(size, previous)).toBe(expected);
});

test('a file that no block size fits is refused', () => {
  expect(() => blockSizeOf(13 * 1024 * GIB)).toThrow(expect.objectContaining({ code: 'file-too-large' }));
});

test('blocks cover a file exactly, and never more of them than the service takes', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 12 * 1024 * GIB }), (size) => {
      const blockSize = blockSizeOf(size);
      const count = blockCount(size, blockSize);
      expect(count).toBeLessThanOrEqual(BLOCKS_MAX);
      const last = count === 0 ? 0 : blockLength(size, blockSize, count - 1);
      expect(Math.max(0, count - 1) * blockSize + last).toBe(size);
    }),
  );
});
