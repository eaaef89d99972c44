import { describe, expect, it } from 'vitest';

import type { ScheduledEvent } from '../../src/core/event.ts';
import type { Policy } from '../../src/core/policy.ts';
import { INITIAL_STATE } from '../../src/core/state.ts';
import { Life, SELF, SERVER_EPOCH, event, hook, policyWith } from './support.ts';

const DRAINS = ['stage-sets job', 'run-hook stop#1'];
const ACKS = ['acknowledge A1#1'];
const NOTHING: string[] = [];

interface Row {
  readonly what: string;
  readonly event: Partial<ScheduledEvent>;
  readonly policy?: Partial<Policy>;
  readonly effects: string[];
}

/** One document with one event, seen while watching: what is done at once. */
const ANNOUNCED: Row[] = [
  { what: 'own Preempt', event: {}, effects: DRAINS },
  { what: 'own Preempt, name in another case', event: { resources: ['FLEET_2'] }, effects: DRAINS },
  { what: 'own Preempt that names others too', event: { resources: ['fleet_1', SELF] }, effects: DRAINS },
  { what: 'Preempt of another VM', event: { resources: ['fleet_1'] }, effects: NOTHING },
  {
    what: 'Preempt of a VM whose name begins like ours',
    event: { resources: ['fleet_20'] },
    effects: NOTHING,
  },
  { what: 'Preempt of nobody', event: { resources: [] }, effects: NOTHING },
  {
    what: 'own Preempt already started',
    event: { status: 'Started', notBefore: undefined },
    effects: DRAINS,
  },
  { what: 'own Terminate', event: { type: 'Terminate' }, effects: DRAINS },
  { what: 'own Freeze', event: { type: 'Freeze' }, effects: NOTHING },
  { what: 'own Reboot by the platform', event: { type: 'Reboot' }, effects: NOTHING },
  { what: 'own Reboot by the user', event: { type: 'Reboot', source: 'User' }, effects: ACKS },
  {
    what: 'Reboot by the user of another VM',
    event: { type: 'Reboot', source: 'User', resources: ['x'] },
    effects: NOTHING,
  },
  {
    what: 'own Reboot by the user that names others too',
    event: { type: 'Reboot', source: 'User', resources: [SELF, 'fleet_1'] },
    effects: NOTHING,
  },
  {
    what: 'the same with ackShared',
    event: { type: 'Reboot', source: 'User', resources: [SELF, 'fleet_1'] },
    policy: { ackShared: true },
    effects: ACKS,
  },
  {
    what: 'own Reboot by the user, started',
    event: { type: 'Reboot', source: 'User', status: 'Started' },
    effects: NOTHING,
  },
  { what: 'own Redeploy, source unknown', event: { type: 'Redeploy', source: undefined }, effects: NOTHING },
  {
    what: 'own Freeze with ack: always',
    event: { type: 'Freeze' },
    policy: { events: { Freeze: { drain: false, ack: 'always', checkpoint: false } } },
    effects: ACKS,
  },
  {
    what: 'own Freeze with ack: after-success and nothing to do',
    event: { type: 'Freeze' },
    policy: { events: { Freeze: { drain: false, ack: 'after-success', checkpoint: false } } },
    effects: ACKS,
  },
  {
    what: 'rebalance recommendation',
    event: { type: 'SpotRebalanceRecommendation' },
    effects: ['take-checkpoint'],
  },
  { what: 'an unknown type', event: { type: 'Defenestrate' }, effects: NOTHING },
  { what: 'a type named like an object member', event: { type: 'constructor' }, effects: NOTHING },
  {
    what: 'own Preempt without hooks',
    event: {},
    policy: { hooks: [] },
    effects: ['stage-sets job', 'commit-set job#1'],
  },
  { what: 'own Preempt without sets', event: {}, policy: { sets: [] }, effects: ['run-hook stop#1'] },
  {
    what: 'own Preempt with hooks for another type only',
    event: {},
    policy: { hooks: [hook('bye', { on: ['Terminate'] })] },
    effects: ['stage-sets job', 'commit-set job#1'],
  },
];

describe('one announced event', () => {
  it.each(ANNOUNCED)('$what', ({ event: change, policy, effects }) => {
    const life = new Life(policyWith(policy));
    life.document([event(change)]);
    expect(life.log()).toEqual(effects);
  });

  it.each(ANNOUNCED)('$what: seeing it again does nothing more', ({ event: change, policy, effects }) => {
    const life = new Life(policyWith(policy));
    for (let second = 0; second < 3; second++) {
      life.at = second * 1000;
      life.document([event(change)]);
    }
    expect(life.log().filter((line) => !line.startsWith('tighten'))).toEqual(effects);
  });
});

describe('the window', () => {
  const preempt = (change: Partial<ScheduledEvent>) => event(change);
  it.each([
    { what: 'NotBefore in 30 s', event: preempt({}), ms: 30_000 },
    { what: 'NotBefore in 7 s', event: preempt({ notBefore: SERVER_EPOCH + 7000 }), ms: 7000 },
    {
      what: 'NotBefore in 10 min: never count on more than the notice',
      event: preempt({ notBefore: SERVER_EPOCH + 600_000 }),
      ms: 30_000,
    },
    {
      what: 'Terminate in 5 min',
      event: preempt({ type: 'Terminate', notBefore: SERVER_EPOCH + 300_000 }),
      ms: 300_000,
    },
    { what: 'NotBefore empty', event: preempt({ notBefore: undefined }), ms: 10_000 },
    { what: 'NotBefore in the past', event: preempt({ notBefore: SERVER_EPOCH - 5000 }), ms: 10_000 },
    { what: 'NotBefore within the reserve', event: preempt({ notBefore: SERVER_EPOCH + 1000 }), ms: 10_000 },
    { what: 'Started, whatever NotBefore says', event: preempt({ status: 'Started' }), ms: 10_000 },
  ])('$what → $ms ms', ({ event: announced, ms }) => {
    const life = new Life();
    life.document([announced]);
    expect(life.state.drain?.deadlineAt).toBe(ms);
  });

  it('without a Date header trusts no clock', () => {
    const life = new Life();
    life.document([event()], { serverNow: undefined });
    expect(life.state.drain?.deadlineAt).toBe(10_000);
  });

  it('is the same whatever the guest clock says', () => {
    for (const wallAt of [0, SERVER_EPOCH - 3_600_000, SERVER_EPOCH + 3_600_000]) {
      const life = new Life();
      const document = {
        incarnation: 1,
        serverNow: SERVER_EPOCH,
        events: [event()],
        brokenIds: [],
        complete: true,
      };
      life.input({ at: 0, wallAt, upload: undefined, kind: 'document', document });
      expect(life.state.drain?.deadlineAt).toBe(30_000);
    }
  });

  it('gets shorter when the event starts, and never longer', () => {
    const life = new Life();
    life.document([event()]);
    life.at = 5000;
    life.document([event({ status: 'Started', notBefore: undefined })]);
    expect(life.state.drain?.deadlineAt).toBe(15_000);
    expect(life.log().at(-1)).toBe('tighten');
    life.at = 7000;
    life.document([event({ notBefore: SERVER_EPOCH + 60_000 })]);
    expect(life.state.drain?.deadlineAt).toBe(15_000);
  });
});

describe('the own name', () => {
  it('unknown: nothing is done, and the event is decided on once the name arrives', () => {
    const life = new Life(policyWith(), INITIAL_STATE);
    const effects = life.document([event()]);
    expect(life.log()).toEqual(NOTHING);
    expect(effects).toContainEqual(expect.objectContaining({ code: 'event-of-unknown-owner' }));
    life.at = 1000;
    life.input({ ...life.moment(), kind: 'identified', vmName: SELF });
    expect(life.log()).toEqual(DRAINS);
  });

  it('unknown, and another VM is meant: nothing is ever done', () => {
    const life = new Life(policyWith(), INITIAL_STATE);
    life.document([event({ resources: ['fleet_9'] })]);
    life.input({ ...life.moment(), kind: 'identified', vmName: SELF });
    expect(life.log()).toEqual(NOTHING);
  });
});

describe('what is no news', () => {
  it('a failed poll changes nothing', () => {
    const life = new Life();
    life.document([event()]);
    const before = life.state;
    for (let at = 1; at < 5; at++) {
      life.at = at;
      life.input({ ...life.moment(), kind: 'poll-failed' });
    }
    expect(life.state).toEqual(before);
  });

  it('an unknown type is mentioned once', () => {
    const life = new Life();
    const first = life.document([event({ type: 'New', id: 'N1' })]);
    const second = life.document([event({ type: 'New', id: 'N2' })]);
    expect(first.map((effect) => effect.kind)).toEqual(['note']);
    expect(second).toEqual([]);
  });

  it('more own events than any VM has are not piled up', () => {
    const life = new Life();
    life.document(Array.from({ length: 500 }, (_, n) => event({ id: `F${n}`, type: 'Freeze' })));
    expect(life.state.watched).toHaveLength(64);
  });
});
