import { expect, test } from 'vitest';

import { BLOCK_BYTES_DEFAULT } from '../../src/checkpoint/block-size.ts';
import { createTransfer, TRANSFER_LIMITS } from '../../src/checkpoint/transfer.ts';
import { manualClock } from '../imds/support.ts';

test('memory is used again while there is work, and given back when there was none for a while', async () => {
  const clock = manualClock();
  const { signal } = new AbortController();
  using transfer = createTransfer(TRANSFER_LIMITS, { clock });
  const work = async () => {
    using _held = await transfer.hold(BLOCK_BYTES_DEFAULT, signal);
    const memory = { block: transfer.memory(BLOCK_BYTES_DEFAULT), small: transfer.smallMemory() };
    transfer.reuse(memory.block);
    transfer.reuse(memory.small);
    return memory;
  };
  const first = await work();
  await clock.advance(5000);
  const again = await work();
  expect(again.block).toBe(first.block);
  expect(again.small).toBe(first.small);
  await clock.advance(10_000);
  const later = await work();
  expect(later.block).not.toBe(first.block);
  expect(later.small).not.toBe(first.small);
});

test('memory stays while something is under way, however long that takes', async () => {
  const clock = manualClock();
  const { signal } = new AbortController();
  using transfer = createTransfer(TRANSFER_LIMITS, { clock });
  const block = transfer.memory(BLOCK_BYTES_DEFAULT);
  (await transfer.hold(1, signal))[Symbol.dispose]();
  transfer.reuse(block);
  (await transfer.hold(1, signal))[Symbol.dispose]();
  using _held = await transfer.hold(1, signal);
  await clock.advance(60_000);
  expect(transfer.memory(BLOCK_BYTES_DEFAULT)).toBe(block);
});
