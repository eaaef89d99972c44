import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { isDraining } from '../../src/core/drain.ts';
import { wakeAt } from '../../src/core/decide.ts';
import { Life, SERVER_EPOCH, describeEffect, event, hook, policyWith } from './support.ts';
import { type Outcome, play } from './world.ts';

const PEER = event({ id: 'P1', resources: ['fleet_1', 'fleet_3'] });

function policyWithPeers(...peerHooks: ReturnType<typeof hook>[]) {
  return policyWith({ peerHooks: peerHooks.length === 0 ? [hook('ring', { required: false })] : peerHooks });
}

function peerHookEnds(life: Life, name = 'ring', attempt = 1, noticeId = life.state.peers[0]?.id ?? '') {
  const result = { kind: 'succeeded', durationMs: 1 } as const;
  return life.input({ ...life.moment(), kind: 'peer-hook-ended', noticeId, name, attempt, result });
}

describe("another VM's event", () => {
  it('runs the hooks for peers once, however often it is announced, and neither drains nor acknowledges', () => {
    const life = new Life(policyWithPeers());
    life.document([PEER]);
    life.document([PEER]);
    expect(life.log()).toEqual(['run-peer-hook ring#1']);
    peerHookEnds(life);
    life.document([{ ...PEER, status: 'Started', notBefore: undefined }]);
    life.document([]);
    life.document([]);
    expect(life.log()).toEqual(['run-peer-hook ring#1']);
    expect(life.state).toMatchObject({ peers: [], watched: [], drain: undefined });
  });

  it('runs them again when it is announced again after it was gone', () => {
    const life = new Life(policyWithPeers());
    life.document([PEER]);
    peerHookEnds(life);
    life.document([]);
    life.document([]);
    life.at = 5000;
    life.document([PEER]);
    expect(life.log()).toEqual(['run-peer-hook ring#1', 'run-peer-hook ring#1']);
  });

  it.for<[what: string, policy: ReturnType<typeof policyWith>, change: Parameters<typeof event>[0]]>([
    ['of a type that does not drain', policyWithPeers(), { type: 'Freeze' }],
    ['of an unknown type', policyWithPeers(), { type: 'Levitate' }],
    ['of a type that the hook is not for', policyWithPeers(hook('ring', { on: ['Terminate'] })), {}],
    ['with only hooks for own events', policyWith(), {}],
  ])('%s runs nothing', ([, policy, change]) => {
    const life = new Life(policy);
    life.document([{ ...PEER, ...change }]);
    expect(life.log()).toEqual([]);
  });

  it('of a type that only the hook names runs it', () => {
    const life = new Life(policyWithPeers(hook('ring', { on: ['Freeze'] })));
    life.document([{ ...PEER, type: 'Freeze' }]);
    expect(life.log()).toEqual(['run-peer-hook ring#1']);
  });

  it('that names this VM too is an event of this VM', () => {
    const life = new Life(policyWithPeers());
    life.document([event({ resources: ['fleet_1', 'FLEET_2'] })]);
    expect(life.log()).toEqual(['stage-sets job', 'run-hook stop#1']);
  });

  it('runs them by order', () => {
    const life = new Life(policyWithPeers(hook('late', { order: 2 }), hook('a'), hook('b', { order: 2 })));
    life.document([PEER]);
    expect(life.log()).toEqual(['run-peer-hook late#1', 'run-peer-hook b#1']);
    peerHookEnds(life, 'b');
    expect(life.effects).toHaveLength(2);
    peerHookEnds(life, 'late');
    expect(life.log().slice(2)).toEqual(['run-peer-hook a#1']);
  });

  it('waits while four others are served', () => {
    const life = new Life(policyWithPeers());
    const events = [1, 2, 3, 4, 5, 6].map((n) => ({ ...PEER, id: `P${n}` }));
    life.document(events);
    expect(life.effects).toHaveLength(4);
    peerHookEnds(life);
    expect(life.effects).toHaveLength(5);
  });

  it('waits for the end of a drain of this VM, and is not started when it is gone by then', () => {
    const life = new Life(policyWithPeers());
    life.document([event()]);
    life.document([event(), PEER]);
    expect(life.log()).toEqual(['stage-sets job', 'run-hook stop#1']);
    life.document([event()]);
    life.document([event()]);
    expect(life.state.peers).toEqual([]);
    life.document([event(), PEER]);
    life.hookEnds('stop');
    life.setEnds('job');
    expect(life.log()).not.toContain('run-peer-hook ring#1');
    life.reportEnds();
    life.ackEnds();
    expect(life.log()).toContain('run-peer-hook ring#1');
  });

  it('gives up a hook whose runner does not answer', () => {
    const life = new Life(policyWithPeers());
    life.document([PEER]);
    expect(wakeAt(life.policy, life.state, life.at)).toBe(11_000);
    life.tick(11_000);
    expect(life.state.peers[0]?.hooks[0]?.run).toMatchObject({
      kind: 'ended',
      result: { reason: 'timeout' },
    });
    expect(wakeAt(life.policy, life.state, life.at)).toBeUndefined();
  });

  it('starts what ran again after a restart, and not what had ended', () => {
    const life = new Life(policyWithPeers(hook('a'), hook('b')));
    life.document([PEER]);
    peerHookEnds(life, 'a');
    life.input({ ...life.moment(), kind: 'restarted' });
    expect(life.log().slice(2)).toEqual(['run-peer-hook b#2']);
    // Of the process that is gone.
    peerHookEnds(life, 'b', 1);
    expect(life.state.peers[0]?.hooks[1]?.run.kind).toBe('running');
  });

  it('is over after a reboot', () => {
    const life = new Life(policyWithPeers());
    life.document([PEER]);
    life.input({ ...life.moment(), kind: 'rebooted' });
    life.input({ ...life.moment(), kind: 'identified', vmName: 'fleet_2' });
    life.document([PEER]);
    expect(life.log()).toEqual(['run-peer-hook ring#1']);
  });
});

describe('whatever happens', () => {
  const outcome: fc.Arbitrary<Outcome> = fc.record({
    ok: fc.boolean(),
    afterMs: fc.option(fc.integer({ min: 0, max: 15_000 }), { nil: undefined, freq: 6 }),
  });
  const announced = fc
    .array(
      fc.record({
        resources: fc.constantFrom(['fleet_1'], ['fleet_2'], ['fleet_2', 'fleet_1']),
        type: fc.constantFrom('Preempt', 'Terminate', 'Freeze'),
        from: fc.integer({ min: 0, max: 30_000 }),
        until: fc.integer({ min: 1000, max: 90_000 }),
      }),
      { maxLength: 8 },
    )
    .map((list) =>
      list.map(({ resources, type, ...times }, n) => ({
        event: event({ id: `E${n}`, type, resources, notBefore: SERVER_EPOCH + 60_000 }),
        ...times,
        startsAt: 60_000,
      })),
    );
  const script = fc.record({
    announced,
    peerHooks: fc.array(fc.integer({ min: 0, max: 2 }), { maxLength: 3 }),
    outcomes: fc.record({
      hooks: fc.array(outcome, { maxLength: 6 }),
      sets: fc.array(outcome, { maxLength: 3 }),
      acks: fc.array(outcome, { maxLength: 3 }),
    }),
    restartsAt: fc.array(fc.integer({ min: 0, max: 60_000 }), { maxLength: 3 }),
  });

  it('hooks for peers run once per attempt, only for others, never beside a drain, and are over in the end', () => {
    fc.assert(
      fc.property(script, ({ peerHooks, ...rest }) => {
        const policy = policyWith({ peerHooks: peerHooks.map((order, n) => hook(`p${n}`, { order })) });
        const history = play({
          ...rest,
          policy,
          failedPolls: new Set(),
          emptyPolls: new Set(),
          untilMs: 250_000,
        });
        const started = new Set<string>();
        for (const { effect, state } of history.performed) {
          if (effect.kind !== 'run-peer-hook') continue;
          const run = `${effect.noticeId} ${describeEffect(effect)}`;
          expect(started.has(run)).toBe(false);
          started.add(run);
          expect(effect.attempt).toBeLessThanOrEqual(1 + history.restarts);
          expect(isDraining(state.drain)).toBe(false);
          const notice = state.peers.find(({ id }) => id === effect.noticeId);
          expect(notice?.event.resources).toEqual(['fleet_1']);
        }
        expect(history.end.peers).toEqual([]);
      }),
      { numRuns: 300 },
    );
  });

  it("this VM's own drain is the same as without them", () => {
    fc.assert(
      fc.property(script, ({ peerHooks, announced: events, outcomes }) => {
        const common = {
          announced: events,
          outcomes,
          restartsAt: [],
          failedPolls: new Set<number>(),
          emptyPolls: new Set<number>(),
          untilMs: 120_000,
        };
        const own = (policy: ReturnType<typeof policyWith>) =>
          play({ ...common, policy }).performed.flatMap(({ at, effect }) =>
            effect.kind === 'run-peer-hook' || effect.kind === 'note'
              ? []
              : [`${at} ${describeEffect(effect)}`],
          );
        const peers = peerHooks.map((order, n) => hook(`p${n}`, { order }));
        expect(own(policyWith({ peerHooks: peers }))).toEqual(own(policyWith()));
      }),
      { numRuns: 200 },
    );
  });
});
