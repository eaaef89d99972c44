import { describe, expect, it } from 'vitest';

import { hook, noticed, policyWith } from './support.ts';

describe('a drain', () => {
  it.each([
    { what: 'neither hooks nor sets', hooks: [], ack: 'after-success', acks: false },
    {
      what: 'only a hook for the way back',
      hooks: [hook('back', { stage: 'on-resume' })],
      ack: 'after-success',
      acks: false,
    },
    { what: 'neither, but ack: always', hooks: [], ack: 'always', acks: true },
    { what: 'a hook and no sets', hooks: [hook('stop')], ack: 'after-success', acks: true },
  ] as const)('with $what acknowledges: $acks', ({ hooks, ack, acks }) => {
    const events = { Preempt: { drain: true, ack, checkpoint: false } };
    const life = noticed(policyWith({ events, hooks, sets: [] }));
    if (hooks.some(({ name }) => name === 'stop')) life.hookEnds('stop');
    life.reportEnds();
    expect(life.log().includes('acknowledge A1#1')).toBe(acks);
    expect(life.state.watched[0]?.ack).toMatchObject(
      acks ? { kind: 'sending' } : { kind: 'withheld', reason: 'nothing-done' },
    );
  });
});
