import { expect, test } from 'vitest';

import { measureNoticeToHook } from './notice-to-hook.ts';

const HOUR_MS = 3_600_000;

test('what happens between an answer and its hook is seen from inside the daemon', async () => {
  const { steps, pollLate } = await measureNoticeToHook({ notices: 2, withSet: false });
  // Not how long it takes: each step begins with something that was seen, and ends after it.
  const unseen = Object.entries(steps).filter(([, { median, max }]) => !(median > 0 && max < HOUR_MS));
  expect(unseen).toEqual([]);
  expect(pollLate.max).toBeLessThan(HOUR_MS);
});
