import { expect, test } from 'vitest';

import type { Mutation } from './mutation.ts';
import { MUTATIONS } from './mutations.ts';
import { soak } from './soak-process.ts';

/** Of each mutation from its own seed on; a rule that needs more than that is too weak to rely on. */
const LIVES_MAX = 150;
const LIMIT_MS = 120_000;

test.concurrent.each(Object.entries<Mutation>(MUTATIONS))(
  'the simulation catches: %s',
  async (name, { seed, caughtAs }) => {
    const { ok, output } = await soak(
      '--mutation',
      name,
      '--seed',
      String(seed),
      '--lives',
      String(LIVES_MAX),
    );
    expect(output).toMatch(/^seed \d+: /m);
    expect(output).toMatch(caughtAs);
    expect(output).toContain('to see it again: npm run soak -- --seed');
    expect(ok).toBe(false);
  },
  LIMIT_MS,
);
