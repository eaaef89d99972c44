import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { expect, test } from 'vitest';

const CHAOS = fileURLToPath(new URL('chaos.ts', import.meta.url));

/** Kills in a hook and at other instants, a full disk, a frozen daemon, cut connections. */
const SEEDS = ['1', '504'];

test.for(SEEDS)('a round of npm run chaos, seed %s', { timeout: 90_000 }, async (seed) => {
  const { stdout } = await promisify(execFile)(process.execPath, [CHAOS, '--rounds', '1', '--seed', seed], {
    timeout: 80_000,
  });
  expect(stdout).toContain('1 rounds, 0 violations');
});
