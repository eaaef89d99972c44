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

test.concurrent.each([
  [155865574, 'a hook was told of an event whose window was over'],
  [703090, 'a hook was given the time that writing the journal had taken'],
  [981872087, 'an event started within the second of its document'],
])(
  'a life that once broke a rule: %i, in which %s',
  async (seed) => {
    const { output } = await soak('--seed', String(seed), '--lives', '1');
    expect(output).toContain('no violation');
  },
  LIMIT_MS,
);

test.concurrent(
  'the same seed is the same life',
  async () => {
    const lines = async () => (await soak('--seed', '4', '--trace')).output.split('\n');
    const [one, other] = await Promise.all([lines(), lines()]);
    const events = (all: readonly string[]) => all.filter((line) => /^ +\d+\.\d{3} {2}/.test(line));
    expect(events(one).length).toBeGreaterThan(20);
    expect(events(one)).toEqual(events(other));
  },
  LIMIT_MS,
);
