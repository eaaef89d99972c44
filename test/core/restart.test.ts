import { describe, expect, it } from 'vitest';

import type { State } from '../../src/core/state.ts';
import { Life, SELF, event, hook, noticed, policyWith } from './support.ts';

describe('a restart', () => {
  function restart(life: Life): Life {
    const again = new Life(
      life.policy,
      JSON.parse(JSON.stringify(life.state)) as State /* what was written */,
    );
    again.at = life.at + 500;
    again.input({ ...again.moment(), kind: 'restarted' });
    return again;
  }

  it('starts what ran again, as a further attempt, and nothing that was done', () => {
    const hooks = [hook('a', { order: 1 }), hook('b', { order: 2 }), hook('c', { order: 3 })];
    const life = noticed(policyWith({ hooks }));
    life.hookEnds('a');
    const again = restart(life);
    expect(again.log()).toEqual(['stage-sets job', 'run-hook b#2']);
    again.hookEnds('b', true, 2);
    expect(again.log().at(-1)).toBe('run-hook c#1');
  });

  it('takes no notice of a late result of the attempt before', () => {
    const again = restart(noticed());
    again.hookEnds('stop', true, 1);
    expect(again.state.drain?.hooks[0]?.run.kind).toBe('running');
    again.hookEnds('stop', true, 2);
    expect(again.state.drain?.hooks[0]?.run.kind).toBe('ended');
  });

  it('with the ack in flight waits for the next document', () => {
    const life = noticed(policyWith({ hooks: [] }));
    life.setEnds('job');
    life.reportEnds();
    const scheduled = restart(life);
    expect(scheduled.log()).toEqual([]);
    scheduled.document([event()]);
    expect(scheduled.log().filter((line) => line !== 'tighten')).toEqual(['acknowledge A1#2']);
    const started = restart(life);
    started.document([event({ status: 'Started', notBefore: undefined })]);
    expect(started.log().filter((line) => line !== 'tighten')).toEqual([]);
    expect(started.state.watched[0]?.ack.kind).toBe('accepted');
  });

  it('after a reboot closes the old drain and resumes', () => {
    const life = noticed(policyWith({ hooks: [hook('stop'), hook('again', { stage: 'on-resume' })] }));
    const rebooted = new Life(life.policy, life.state);
    rebooted.input({ ...rebooted.moment(), kind: 'rebooted' });
    expect(rebooted.log()).toEqual(['write-report', 'run-hook again#1']);
    expect(rebooted.state.drain?.outcome).toBe('rebooted');
  });

  it.each([
    ['Started', 'is not drained for again', false],
    ['Scheduled', 'is still to come and is drained for', true],
  ] as const)('after a reboot an old event that is %s %s', (status, _, drains) => {
    const life = noticed(policyWith({ hooks: [hook('stop')], sets: [] }));
    const rebooted = new Life(life.policy, life.state);
    rebooted.input({ ...rebooted.moment(), kind: 'rebooted' });
    rebooted.input({ ...rebooted.moment(), kind: 'identified', vmName: SELF });
    rebooted.document([event({ status })]);
    expect(rebooted.log().includes('run-hook stop#1')).toBe(drains);
    expect(rebooted.log().some((line) => line.startsWith('acknowledge'))).toBe(false);
  });
});
