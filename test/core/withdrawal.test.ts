import { describe, expect, it } from 'vitest';

import { event, hook, noticed, policyWith } from './support.ts';

describe('a withdrawn event', () => {
  const hooks = [hook('stop'), hook('again', { stage: 'on-resume' })];

  it('needs two good documents in a row without it', () => {
    const life = noticed(policyWith({ hooks }));
    life.document([]);
    life.document([event()]);
    life.document([]);
    life.input({ ...life.moment(), kind: 'poll-failed' });
    life.document([], { complete: false });
    expect(life.state.drain?.phase).toBe('before-checkpoint');
    life.document([]);
    expect(life.state.drain?.phase).toBe('withdrawn');
  });

  it('is not gone while a broken entry still has its id', () => {
    const life = noticed(policyWith({ hooks }));
    life.document([], { brokenIds: ['a1'] });
    life.document([], { brokenIds: ['a1'] });
    expect(life.state.drain?.phase).toBe('before-checkpoint');
    life.document([], { brokenIds: ['another'] });
    life.document([], { brokenIds: ['another'] });
    expect(life.state.drain?.phase).toBe('withdrawn');
  });

  it('without on-resume hooks leaves a report all the same', () => {
    const life = noticed(policyWith({ hooks: [] }));
    life.document([]);
    life.document([]);
    life.setEnds('job');
    expect(life.state.drain).toBeUndefined();
    const report = life.effects.findLast((effect) => effect.kind === 'write-report');
    expect(report?.drain).toMatchObject({ outcome: 'withdrawn', sets: [{ run: { kind: 'committed' } }] });
  });

  it('lets finish what runs, starts nothing more, resumes and watches again', () => {
    const life = noticed(policyWith({ hooks }));
    life.document([]);
    life.document([]);
    expect(life.log()).toEqual(['stage-sets job', 'run-hook stop#1']);
    life.hookEnds('stop');
    expect(life.log()).toEqual(['stage-sets job', 'run-hook stop#1', 'write-report', 'run-hook again#1']);
    expect(life.state.drain).toMatchObject({ phase: 'resuming', outcome: 'withdrawn' });
    life.hookEnds('again');
    expect(life.state.drain).toBeUndefined();
    life.document([event({ id: 'B2' })]);
    expect(life.log().at(-1)).toBe('run-hook stop#1');
  });

  it('after everything was done resumes all the same', () => {
    const life = noticed(policyWith({ hooks }));
    life.hookEnds('stop');
    life.setEnds('job');
    life.reportEnds();
    life.ackEnds();
    life.document([]);
    life.document([]);
    expect(life.log().at(-1)).toBe('run-hook again#1');
    expect(life.state.drain?.outcome).toBe('success');
  });

  it('does not end the drain while another own event still stands', () => {
    const life = noticed(policyWith({ hooks }));
    life.document([event(), event({ id: 'T1', type: 'Terminate' })]);
    life.document([event({ id: 'T1', type: 'Terminate' })]);
    life.document([event({ id: 'T1', type: 'Terminate' })]);
    expect(life.state.drain?.phase).toBe('before-checkpoint');
  });

  it('followed by a new one while resuming: the new one wins', () => {
    const life = noticed(policyWith({ hooks }));
    life.hookEnds('stop');
    life.document([]);
    life.document([]);
    life.setEnds('job');
    expect(life.log().at(-1)).toBe('run-hook again#1');
    life.at = 5000;
    life.document([event({ id: 'B2' })]);
    expect(life.log().slice(-4)).toEqual(['cancel-hooks', 'tighten', 'stage-sets job', 'run-hook stop#1']);
  });
});
