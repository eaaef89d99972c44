import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { workEndAt } from '../../src/core/budget.ts';
import type { ScheduledEvent } from '../../src/core/event.ts';
import { type AckPolicy, STAGES } from '../../src/core/policy.ts';
import { SELF, SERVER_EPOCH, event, hook, policyWith } from './support.ts';
import { type History, type Outcome, type Script, play } from './world.ts';

const RUNS = 500;

const outcome: fc.Arbitrary<Outcome> = fc.record({
  ok: fc.boolean(),
  afterMs: fc.option(fc.integer({ min: 0, max: 15_000 }), { nil: undefined, freq: 6 }),
});

const anyEvent = (id: string): fc.Arbitrary<ScheduledEvent> =>
  fc
    .record({
      type: fc.constantFrom('Preempt', 'Terminate', 'Reboot', 'Freeze', 'SpotRebalanceRecommendation', 'New'),
      resources: fc.constantFrom([SELF], [SELF.toUpperCase()], [SELF, 'fleet_9'], ['fleet_9'], []),
      source: fc.constantFrom('Platform' as const, 'User' as const, undefined),
      inMs: fc.option(fc.integer({ min: -5000, max: 60_000 }), { nil: undefined }),
    })
    .map(({ type, resources, source, inMs }) =>
      event({ id, type, resources, source, notBefore: inMs === undefined ? undefined : SERVER_EPOCH + inMs }),
    );

const hooks = fc
  .array(
    fc.record({
      stage: fc.constantFrom(...STAGES),
      order: fc.integer({ min: 0, max: 2 }),
      timeoutMs: fc.integer({ min: 100, max: 60_000 }),
      required: fc.boolean(),
    }),
    { maxLength: 5 },
  )
  .map((list) => list.map((one, n) => hook(`h${n}`, one)));

const script: fc.Arbitrary<Script> = fc
  .record({
    hooks,
    sets: fc.array(fc.integer({ min: 0, max: 2 }), { maxLength: 3 }),
    ack: fc.constantFrom<AckPolicy>('after-success', 'always', 'user-initiated', 'never'),
    announced: fc.tuple(anyEvent('E0'), anyEvent('E1'), anyEvent('E2')).chain((events) =>
      fc.tuple(
        ...events.map((one) =>
          fc.record({
            event: fc.constant(one),
            from: fc.integer({ min: 0, max: 30_000 }),
            until: fc.integer({ min: 1000, max: 90_000 }),
            startsAt: fc.integer({ min: 0, max: 90_000 }),
          }),
        ),
      ),
    ),
    failedPolls: fc.uniqueArray(fc.integer({ min: 0, max: 100 }), { maxLength: 30 }),
    emptyPolls: fc.uniqueArray(fc.integer({ min: 0, max: 100 }), { maxLength: 5 }),
    restartsAt: fc.array(fc.integer({ min: 0, max: 60_000 }), { maxLength: 3 }),
    outcomes: fc.record({
      hooks: fc.array(outcome, { maxLength: 6 }),
      sets: fc.array(outcome, { maxLength: 6 }),
      acks: fc.array(outcome, { maxLength: 4 }),
    }),
  })
  .map(({ hooks, sets, ack, failedPolls, emptyPolls, ...rest }) => ({
    ...rest,
    failedPolls: new Set(failedPolls),
    emptyPolls: new Set(emptyPolls),
    untilMs: 150_000,
    policy: policyWith({
      hooks,
      sets: sets.map((priority, n) => ({ name: `s${n}`, priority })),
      events: {
        ...policyWith().events,
        Preempt: { drain: true, ack, checkpoint: false },
        Reboot: { drain: false, ack: 'user-initiated', checkpoint: false },
      },
    }),
  }));

function expectAlways(check: (history: History, script: Script) => void): void {
  fc.assert(
    fc.property(script, (one) => check(play(one), one)),
    { numRuns: RUNS },
  );
}

function acks(history: History) {
  return history.performed.flatMap(({ at, effect, state }) =>
    effect.kind === 'acknowledge' ? [{ at, effect, state }] : [],
  );
}

function eventOf(one: Script, id: string): ScheduledEvent {
  const found = one.announced.find((announced) => announced.event.id === id);
  if (found === undefined) throw new Error(`no event ${id} in the script`);
  return found.event;
}

describe('whatever happens', () => {
  it('no event of another VM, and none that names others, is acknowledged', () => {
    expectAlways((history, one) => {
      for (const { effect } of acks(history)) {
        const { resources } = eventOf(one, effect.eventId);
        expect(resources.map((name) => name.toLowerCase())).toEqual([SELF]);
      }
    });
  });

  it('nothing is acknowledged before all required work succeeded, unless the policy says always', () => {
    expectAlways((history, one) => {
      for (const { effect, state } of acks(history)) {
        const policy = one.policy.events[eventOf(one, effect.eventId).type];
        if (policy?.drain !== true || policy.ack === 'always') continue;
        expect(state.drain?.sets.every(({ run }) => run.kind === 'committed')).toBe(true);
        const unsuccessful = state.drain?.hooks.filter(
          ({ required, stage, run }) =>
            required && stage !== 'on-resume' && !(run.kind === 'ended' && run.result.kind === 'succeeded'),
        );
        expect(unsuccessful).toEqual([]);
      }
    });
  });

  it('no event is acknowledged after it was accepted', () => {
    expectAlways((history) => {
      expect(new Set(history.accepted).size).toBe(history.accepted.length);
    });
  });

  it('each hook starts at most once per attempt, a second attempt only after a restart, none past the end of work', () => {
    expectAlways((history, one) => {
      const started = new Set<string>();
      for (const { at, effect, state } of history.performed) {
        if (effect.kind !== 'run-hook') continue;
        const run = `${effect.drainId} ${effect.name} ${effect.attempt}`;
        expect(started.has(run)).toBe(false);
        started.add(run);
        expect(effect.attempt).toBeLessThanOrEqual(1 + history.restarts);
        if (effect.stage === 'on-resume' || state.drain === undefined) continue;
        expect(at + effect.timeoutMs).toBeLessThanOrEqual(workEndAt(one.policy, state.drain) + 0.001);
      }
    });
  });

  it('nothing is committed past the end of work but late, bounded, and while the drain waits', () => {
    expectAlways((history, one) => {
      for (const { at, effect, state } of history.performed) {
        if (effect.kind !== 'commit-set' || state.drain === undefined) continue;
        const run = state.drain.sets.find(({ name }) => name === effect.set);
        if (run?.late === true) {
          expect(state.drain.phase).toBe('waiting');
          expect(effect.endsAt).toBeLessThanOrEqual(at + 30_000);
        } else expect(effect.endsAt).toBeLessThanOrEqual(workEndAt(one.policy, state.drain) + 0.001);
      }
    });
  });

  it('every drain ends by its deadline', () => {
    expectAlways((history) => {
      for (const { at, state } of history.states) {
        if (state.drain === undefined || at < state.drain.deadlineAt) continue;
        expect(['waiting', 'withdrawn', 'resuming']).toContain(state.drain.phase);
      }
    });
  });

  it('once all events are gone it watches again', () => {
    expectAlways((history, one) => {
      const quiet = { ...one, failedPolls: new Set<number>(), emptyPolls: new Set<number>() };
      const hookTimes = one.policy.hooks.reduce((sum, { timeoutMs }) => sum + timeoutMs + 1000, 0);
      const { end } = play({ ...quiet, untilMs: 150_000 + hookTimes });
      expect(end.drain).toBeUndefined();
      expect(end.watched).toEqual([]);
      expect(history.end.watched).toEqual([]);
    });
  });

  it('without an event of this VM nothing is ever done', () => {
    expectAlways((history, one) => {
      const nobody = one.announced.every(
        ({ event: { resources, type } }) =>
          !resources.some((name) => name.toLowerCase() === SELF) || one.policy.events[type] === undefined,
      );
      const did = history.performed.filter(({ effect }) => effect.kind !== 'note');
      expect(nobody ? did : []).toEqual([]);
    });
  });
});

describe('a restart at any point', () => {
  it('reaches the same end: everything done, one ack accepted, each hook succeeded once', () => {
    const run = fc.integer({ min: 0, max: 3000 }).map((afterMs): Outcome => ({ ok: true, afterMs }));
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 20_000 }), { maxLength: 6 }),
        fc.array(run, { minLength: 1, maxLength: 5 }),
        (restartsAt, outcomes) => {
          const terminate = event({ type: 'Terminate', notBefore: SERVER_EPOCH + 300_000 });
          const history = play({
            policy: policyWith({
              hooks: [
                hook('a', { order: 1 }),
                hook('b', { order: 2 }),
                hook('c', { stage: 'after-checkpoint' }),
              ],
              sets: [
                { name: 'one', priority: 1 },
                { name: 'two', priority: 2 },
              ],
            }),
            announced: [{ event: terminate, from: 1500, until: 400_000, startsAt: 300_000 }],
            failedPolls: new Set(),
            emptyPolls: new Set(),
            restartsAt,
            outcomes: { hooks: outcomes, sets: outcomes, acks: outcomes },
            untilMs: 100_000,
          });
          expect(history.accepted).toEqual(['A1']);
          expect(history.end.drain).toMatchObject({ phase: 'waiting', outcome: 'success' });
          expect(history.end.watched[0]?.ack.kind).toBe('accepted');
        },
      ),
      { numRuns: RUNS },
    );
  });
});
