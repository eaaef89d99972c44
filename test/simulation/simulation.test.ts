import { expect, test } from 'vitest';

import { soak } from './soak-process.ts';

const LIMIT_MS = 120_000;

test.concurrent.each([
  ['seeds that are always the same', ['--seed', '1', '--lives', '80']],
  ['seeds that nobody has tried', ['--lives', '80']],
])(
  'whole lives of the daemon break no rule: %s',
  async (_, args) => {
    const { ok, output } = await soak(...args);
    // Seeds, and how to see a life again that went wrong.
    console.log(output);
    expect(output).toContain('no violation');
    expect(ok).toBe(true);
  },
  LIMIT_MS,
);

test.concurrent(
  'the same seed is the same life',
  async () => {
    const lines = async () => (await soak('--seed', '1089', '--trace')).output.split('\n');
    const [one, other] = await Promise.all([lines(), lines()]);
    const events = (all: readonly string[]) => all.filter((line) => /^ +\d+\.\d{3} {2}/.test(line));
    expect(events(one).length).toBeGreaterThan(20);
    expect(events(one)).toEqual(events(other));
  },
  LIMIT_MS,
);
