import { describe, expect, it } from 'vitest';

import { Life, SELF, SERVER_EPOCH, event, hook, noticed, policyWith } from './support.ts';

describe('a drain', () => {
  it('goes stage by stage and acknowledges last', () => {
    const life = noticed(policyWith({ hooks: [hook('stop'), hook('tell', { stage: 'after-checkpoint' })] }));
    life.hookEnds('stop');
    life.setEnds('job');
    life.hookEnds('tell');
    life.reportEnds();
    life.ackEnds();
    expect(life.log()).toEqual([
      'stage-sets job',
      'run-hook stop#1',
      'commit-set job#1',
      'run-hook tell#1',
      'write-report',
      'acknowledge A1#1',
    ]);
    expect(life.state.drain).toMatchObject({ phase: 'waiting', outcome: 'success' });
  });

  it('runs one order together and the next after it', () => {
    const life = noticed(
      policyWith({
        hooks: [hook('b', { order: 20 }), hook('a', { order: 10 }), hook('c', { order: 20 })],
        sets: [],
      }),
    );
    expect(life.log()).toEqual(['run-hook a#1']);
    life.hookEnds('a', false);
    expect(life.log()).toEqual(['run-hook a#1', 'run-hook b#1', 'run-hook c#1']);
  });

  it.each([
    { what: 'a required hook fails', required: true, acks: false },
    { what: 'an optional hook fails', required: false, acks: true },
  ])('takes the checkpoint when $what; acknowledges: $acks', ({ required, acks }) => {
    const life = noticed(policyWith({ hooks: [hook('stop', { required })] }));
    life.hookEnds('stop', false);
    life.setEnds('job');
    life.reportEnds();
    expect(life.log()).toContain('commit-set job#1');
    expect(life.log().includes('acknowledge A1#1')).toBe(acks);
  });

  it('with ack: always acknowledges a failed drain, after everything else', () => {
    const life = noticed(
      policyWith({ events: { Preempt: { drain: true, ack: 'always', checkpoint: false } } }),
    );
    expect(life.log()).not.toContain('acknowledge A1#1');
    life.hookEnds('stop', false);
    life.setEnds('job', false, 1, false);
    life.reportEnds();
    expect(life.log().at(-1)).toBe('acknowledge A1#1');
  });

  it.each([
    ['never', { ack: 'never' } as const, {}],
    ['user-initiated, by the platform', { ack: 'user-initiated' } as const, {}],
    ['after-success, shared', { ack: 'after-success' } as const, { resources: [SELF, 'fleet_9'] }],
    ['always, shared', { ack: 'always' } as const, { resources: [SELF, 'fleet_9'] }],
  ])('does not acknowledge: %s', (_, ack, change) => {
    const life = new Life(policyWith({ events: { Preempt: { drain: true, checkpoint: false, ...ack } } }));
    life.document([event(change)]);
    life.hookEnds('stop');
    life.setEnds('job');
    life.reportEnds();
    expect(life.log().some((line) => line.startsWith('acknowledge'))).toBe(false);
    expect(life.state.drain).toMatchObject({ phase: 'waiting', outcome: 'success' });
  });

  it('keeps trying the upload instead of acknowledging, until the work must end', () => {
    const life = noticed(policyWith({ hooks: [] }));
    let attempt = 1;
    for (let at = 0; at < 40_000; at += 100) {
      life.tick(at);
      const [set] = life.state.drain?.sets ?? [];
      if (set?.run.kind === 'committing') life.setEnds('job', false, attempt++);
      if (life.state.drain?.phase === 'report') life.reportEnds();
    }
    expect(attempt).toBeGreaterThan(10);
    expect(life.log().some((line) => line.startsWith('acknowledge'))).toBe(false);
    expect(life.state.drain).toMatchObject({ phase: 'waiting', outcome: 'failure' });
  });

  it('does not try again what can not succeed', () => {
    const life = noticed(policyWith({ hooks: [] }));
    life.setEnds('job', false, 1, false);
    expect(life.state.drain?.sets[0]?.run.kind).toBe('failed');
    life.reportEnds();
    expect(life.state.drain?.phase).toBe('waiting');
  });

  it('commits by priority, and one that takes too long does not hold the others for ever', () => {
    const sets = [
      { name: 'large', priority: 1 },
      { name: 'small', priority: 2 },
    ];
    const life = noticed(policyWith({ hooks: [], sets }));
    expect(life.log().at(-1)).toBe('commit-set large#1');
    life.tick(13_900);
    expect(life.log().at(-1)).toBe('commit-set large#1');
    life.tick(14_000);
    expect(life.log().at(-1)).toBe('commit-set small#1');
  });

  it('leaves room for after-checkpoint hooks when the upload hangs', () => {
    const life = noticed(
      policyWith({ hooks: [hook('tell', { stage: 'after-checkpoint', timeoutMs: 4000 })] }),
    );
    life.tick(23_999);
    expect(life.log()).not.toContain('run-hook tell#1');
    life.tick(24_000);
    expect(life.log()).toContain('run-hook tell#1');
  });

  it.each([
    [true, 'committed'],
    [false, 'failed'],
  ])('tells after-checkpoint hooks whether there is a checkpoint: %s', (ok, told) => {
    const life = noticed(policyWith({ hooks: [hook('tell', { stage: 'after-checkpoint' })] }));
    life.setEnds('job', ok, 1, false);
    expect(life.effects.find((effect) => effect.kind === 'run-hook')?.checkpoint).toBe(told);
  });

  it('acknowledges again after a failed try, not after a refusal', () => {
    const life = noticed(policyWith({ hooks: [] }));
    life.setEnds('job');
    life.reportEnds();
    life.ackEnds('failed');
    life.tick(1000);
    expect(life.log().at(-1)).toBe('acknowledge A1#2');
    life.ackEnds('refused', 'A1', 2);
    life.tick(2000);
    expect(life.log().filter((line) => line.startsWith('acknowledge'))).toHaveLength(2);
    expect(life.state.drain?.phase).toBe('waiting');
  });

  it('gives up a runner that never answers, in time for the rest', () => {
    const life = noticed();
    life.tick(10_000);
    expect(life.log()).not.toContain('commit-set job#1');
    life.tick(11_000);
    expect(life.log()).toContain('commit-set job#1');
    life.hookEnds('stop');
    expect(life.state.drain?.hooks[0]?.run).toMatchObject({ kind: 'ended', result: { kind: 'failed' } });
  });
});

describe('a second own event during a drain', () => {
  it('shortens the deadline, adds its hooks, and both are acknowledged at the end', () => {
    const hooks = [hook('stop'), hook('preempted', { on: ['Preempt'], order: 90 })];
    const life = new Life(policyWith({ hooks }));
    const terminate = event({ id: 'T1', type: 'Terminate', notBefore: SERVER_EPOCH + 300_000 });
    life.document([terminate]);
    life.at = 1000;
    life.document([terminate, event({ id: 'P1', notBefore: SERVER_EPOCH + 31_000 })]);
    expect(life.state.drain?.deadlineAt).toBe(31_000);
    life.hookEnds('stop');
    life.hookEnds('preempted');
    life.setEnds('job');
    life.reportEnds();
    expect(life.log()).toEqual([
      'stage-sets job',
      'run-hook stop#1',
      'tighten',
      'run-hook preempted#1',
      'commit-set job#1',
      'write-report',
      'acknowledge T1#1',
      'acknowledge P1#1',
    ]);
  });

  it('after the first was done gets a drain of its own, with its own window', () => {
    const life = noticed();
    life.hookEnds('stop');
    life.setEnds('job');
    life.reportEnds();
    life.ackEnds();
    life.at = 60_000;
    const first = event({ status: 'Started', notBefore: undefined });
    life.document([first, event({ id: 'T1', type: 'Terminate', notBefore: SERVER_EPOCH + 360_000 })]);
    expect(life.state.drain?.deadlineAt).toBe(360_000);
    expect(life.log().slice(-2)).toEqual(['stage-sets job', 'run-hook stop#1']);
    life.hookEnds('stop');
    life.setEnds('job');
    life.reportEnds();
    expect(life.log().at(-1)).toBe('acknowledge T1#1');
  });

  it('keeps its own window when the VM has outlived the first event, which is still announced', () => {
    const first = event({ id: 'T1', type: 'Terminate', notBefore: SERVER_EPOCH - 1000 });
    const life = new Life(policyWith({ hooks: [], sets: [] }));
    life.document([first]);
    life.reportEnds();
    const second = event({ id: 'T2', type: 'Terminate', notBefore: SERVER_EPOCH + 60_000 });
    life.at = 9000;
    life.document([first, second]);
    life.at = 9500;
    life.document([first, second]);
    expect(life.state.drain?.deadlineAt).toBe(60_000);
  });

  it('has to be done before the first event ends the VM, also in a drain of its own', () => {
    const first = event({ id: 'T1', type: 'Terminate', notBefore: SERVER_EPOCH + 60_000 });
    const life = new Life(policyWith({ hooks: [], sets: [] }));
    life.document([first]);
    life.reportEnds();
    life.ackEnds('refused', 'T1');
    expect(life.state.drain?.phase).toBe('waiting');
    life.at = 40_000;
    life.document([first, event({ id: 'P1', notBefore: SERVER_EPOCH + 70_000 })]);
    expect(life.state.drain?.deadlineAt).toBe(60_000);
  });

  it('whose hooks run while a set is being committed has it committed again after them', () => {
    const hooks = [hook('flush', { on: ['Terminate'] })];
    const life = noticed(policyWith({ hooks }));
    expect(life.log().at(-1)).toBe('commit-set job#1');
    life.document([event(), event({ id: 'T1', type: 'Terminate', notBefore: SERVER_EPOCH + 30_000 })]);
    expect(life.log().at(-1)).toBe('run-hook flush#1');
    life.setEnds('job', true, 1);
    life.hookEnds('flush');
    expect(life.log().at(-1)).toBe('commit-set job#2');
  });
});

describe('a window that gets shorter while the report is written', () => {
  it('is not outlasted by the report', () => {
    const life = new Life(policyWith({ hooks: [], sets: [] }));
    life.document([event()]);
    expect(life.state.drain?.report).toMatchObject({ kind: 'writing', endsAt: 3000 });
    life.document([event({ notBefore: SERVER_EPOCH + 2500 })]);
    life.tick(2500);
    expect(life.state.drain?.phase).toBe('waiting');
  });
});

describe('an event that does not drain', () => {
  it('is not approved in the middle of a drain, but after it', () => {
    const life = noticed();
    const reboot = event({ id: 'R1', type: 'Reboot', source: 'User' });
    life.document([event(), reboot]);
    life.hookEnds('stop');
    expect(life.log().some((line) => line.startsWith('acknowledge'))).toBe(false);
    life.setEnds('job');
    life.reportEnds();
    expect(life.log().slice(-2)).toEqual(['acknowledge A1#1', 'acknowledge R1#1']);
  });

  it('and asks for a checkpoint is approved when that has ended, also after a restart', () => {
    const events = { Redeploy: { drain: false, ack: 'always', checkpoint: true } } as const;
    const life = new Life(policyWith({ events }));
    life.document([event({ type: 'Redeploy' })]);
    expect(life.log()).toEqual(['take-checkpoint']);
    life.input({ ...life.moment(), kind: 'restarted' });
    expect(life.log()).toEqual(['take-checkpoint', 'take-checkpoint']);
    life.input({ ...life.moment(), kind: 'checkpoint-ended', eventId: 'A1' });
    expect(life.log().at(-1)).toBe('acknowledge A1#1');
  });

  it('is asked for approval until it starts', () => {
    const life = new Life();
    const reboot = event({ type: 'Reboot', source: 'User' });
    life.document([reboot]);
    for (let at = 0, attempt = 1; at < 60_000; at += 100) {
      life.tick(at);
      const ack = life.state.watched[0]?.ack;
      if (ack?.kind === 'sending') life.ackEnds('failed', 'A1', attempt++);
    }
    expect(life.state.watched[0]?.ack.kind).toBe('retrying');
    life.document([{ ...reboot, status: 'Started' }]);
    life.tick(120_000);
    expect(life.state.watched[0]?.ack).toEqual({ kind: 'withheld', reason: 'started' });
  });
});

describe('a request to stop', () => {
  it('is followed at once when idle, and after the drain otherwise', () => {
    const idle = new Life();
    idle.input({ ...idle.moment(), kind: 'stop-requested' });
    expect(idle.log()).toEqual(['exit']);
    const busy = noticed(policyWith({ hooks: [] }));
    busy.input({ ...busy.moment(), kind: 'stop-requested' });
    expect(busy.log()).not.toContain('exit');
    busy.setEnds('job');
    busy.reportEnds();
    busy.ackEnds();
    expect(busy.log().at(-1)).toBe('exit');
  });
});
