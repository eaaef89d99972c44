import { defineConfig } from 'vitest/config';

import { SlowFirst } from './tools/slow-first.ts';

export default defineConfig({
  test: {
    root: new URL('..', import.meta.url).pathname,
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    // Most tests wait for processes and servers more than they compute.
    maxWorkers: 3,
    sequence: { sequencer: SlowFirst },
    // Every test has a bound, wide enough for a machine that does other work; those that need more say so.
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // A test that passes only on a second try hides a defect.
    retry: 0,
    globalSetup: ['test/support/global-setup.ts'],
  },
});
