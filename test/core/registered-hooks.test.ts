import { describe, expect, it } from 'vitest';

import { DRAIN_PHASES, type DrainPhase } from '../../src/core/state.ts';
import type { Stage } from '../../src/core/policy.ts';
import { type Life, event, hook, noticed, policyWith } from './support.ts';

function registers(life: Life, stage: Stage, change: { readonly on?: readonly string[] } = {}): void {
  life.policy = { ...life.policy, hooks: [...life.policy.hooks, hook('late', { stage, ...change })] };
  life.input({ ...life.moment(), kind: 'hook-registered', name: 'late' });
}

function names(life: Life): string[] {
  return (life.state.drain?.hooks ?? []).map(({ name }) => name);
}

describe('a hook that is registered during a drain', () => {
  const cases: readonly [Stage, readonly DrainPhase[]][] = [
    ['before-checkpoint', []],
    ['after-checkpoint', ['before-checkpoint', 'checkpoint']],
    ['on-resume', DRAIN_PHASES.filter((phase) => phase !== 'resuming')],
  ];
  it.for(cases)('takes part when its stage has not begun: %s', ([stage, phases]) => {
    const joined = DRAIN_PHASES.filter((phase) => {
      const life = noticed();
      if (life.state.drain !== undefined) {
        // Nothing else of the drain matters here, and nothing of it may move on.
        const { drain } = life.state;
        const report = { kind: 'writing', endsAt: Infinity } as const;
        life.state = { ...life.state, drain: { ...drain, phase, report } };
      }
      registers(life, stage);
      return names(life).includes('late');
    });
    // What goes on to a later phase at once has still been joined.
    expect(joined.filter((phase) => !phases.includes(phase))).toEqual([]);
    expect(joined).toEqual(expect.arrayContaining(phases.filter((phase) => phase !== 'withdrawn')));
  });

  it('runs in its stage, and its failure counts', () => {
    const life = noticed(policyWith({ sets: [] }));
    registers(life, 'after-checkpoint');
    life.hookEnds('stop');
    expect(life.log()).toContain('run-hook late#1');
    life.hookEnds('late', false);
    expect(life.state.drain?.outcome).toBe('failure');
  });

  it('is not taken twice, nor for another type of event', () => {
    const life = noticed();
    registers(life, 'after-checkpoint');
    life.input({ ...life.moment(), kind: 'hook-registered', name: 'late' });
    expect(names(life)).toEqual(['stop', 'late']);
    const other = noticed();
    registers(other, 'after-checkpoint', { on: ['Terminate'] });
    expect(names(other)).toEqual(['stop']);
  });

  it('is still to be run after a restart, when its client has yet to come back', () => {
    const life = noticed();
    registers(life, 'after-checkpoint');
    life.policy = policyWith();
    life.input({ ...life.moment(), kind: 'restarted' });
    life.document([event()]);
    life.hookEnds('stop', true, 2);
    life.setEnds('job');
    expect(life.log()).toContain('run-hook late#1');
  });
});
