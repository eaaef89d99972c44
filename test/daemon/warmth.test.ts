import { expect, test } from 'vitest';

import { EvictdError } from '../../src/base/errors.ts';
import { startWarmth } from '../../src/daemon/warmth.ts';
import { manualClock } from '../imds/support.ts';

test('a store that can not be used any more is found out without a notice, told once, and told when it works', async () => {
  const clock = manualClock();
  let fault: EvictdError | undefined;
  let token: EvictdError | undefined;
  const told: string[] = [];
  using warmth = startWarmth({
    store: {
      keepWarm: async () => {
        if (fault !== undefined) throw fault;
      },
      tokenError: () => token,
    },
    clock,
    onProblem: ({ code }) => told.push(code),
    onWorks: () => told.push('works'),
  });
  await clock.advance(120_000);
  expect(told).toEqual([]);
  fault = new EvictdError('forbidden', 'the role was taken away');
  await clock.advance(300_000);
  expect(told).toEqual(['forbidden']);
  expect(warmth.problem()).toBe(fault);
  fault = undefined;
  token = new EvictdError('no-token', 'the identity endpoint is gone');
  await clock.advance(60_000);
  expect(told).toEqual(['forbidden', 'no-token']);
  token = undefined;
  await clock.advance(60_000);
  expect(told).toEqual(['forbidden', 'no-token', 'works']);
  expect(warmth.problem()).toBeUndefined();
});
