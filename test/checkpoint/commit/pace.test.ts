import { expect, test } from 'vitest';

import { createPace } from '../../../src/checkpoint/commit/pace.ts';
import { manualClock } from '../../imds/support.ts';
import { never } from '../../support/checkpoints.ts';

test('the pace holds over any span of time, but for what was asked for at once', async () => {
  const clock = manualClock();
  const slow = createPace({ bytesPerSecond: 100 }, { clock });
  const times: number[] = [];
  const all = [50, 50, 100].map(async (bytes) => {
    await slow.take(bytes, never());
    times.push(clock.monotonicMs());
  });
  await clock.advance(0);
  await clock.advance(10_000);
  await Promise.all(all);
  await slow.take(1, never());
  times.push(clock.monotonicMs());
  expect(times).toEqual([0, 500, 1000, 10_000]);
});

test('who waits for it ends with its signal', async () => {
  const slow = createPace({ bytesPerSecond: 1 }, { clock: manualClock() });
  await slow.take(1000, never());
  const abort = new AbortController();
  const waiting = slow.take(1, abort.signal);
  abort.abort(new Error('no more'));
  await expect(waiting).rejects.toThrow('no more');
});
