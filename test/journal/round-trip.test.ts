import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import type { State } from '../../src/core/state.ts';
import { createJournal } from '../../src/journal/journal.ts';
import { JournalFile, fromKept, toKept } from '../../src/journal/schema.ts';
import { SERVER_EPOCH, event, hook, policyWith } from '../core/support.ts';
import type { Outcome, Script } from '../core/world.ts';
import { play } from '../core/world.ts';

let dir = '';
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'evictd-round-trip-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const fine: Outcome = { ok: true, afterMs: 300 };
const fails: Outcome = { ok: false, afterMs: 300 };
const never: Outcome = { ok: true, afterMs: undefined };

const policy = policyWith({
  hooks: [
    hook('stop', { order: 1 }),
    hook('flush', { order: 2, required: false }),
    hook('tell', { stage: 'after-checkpoint' }),
    hook('undo', { stage: 'on-resume' }),
  ],
  peerHooks: [hook('ring'), hook('rescale', { order: 60 })],
  sets: [
    { name: 'first', priority: 1 },
    { name: 'second', priority: 2 },
  ],
});

function script(change: Partial<Script>): Script {
  return {
    policy,
    announced: [{ event: event(), from: 1000, until: 50_000, startsAt: 30_000 }],
    failedPolls: new Set(),
    emptyPolls: new Set(),
    restartsAt: [],
    outcomes: { hooks: [fine], sets: [fine], acks: [fine] },
    untilMs: 60_000,
    ...change,
  };
}

const HISTORIES: Record<string, Script> = {
  'all goes well': script({}),
  'all fails': script({ outcomes: { hooks: [fails], sets: [fails], acks: [fails] } }),
  'nothing ever answers': script({ outcomes: { hooks: [never], sets: [never], acks: [never] } }),
  'acks are refused by errors': script({ outcomes: { hooks: [fine], sets: [fine], acks: [fails] } }),
  'restarted again and again': script({
    restartsAt: [1500, 1700, 2500, 3000, 3300, 20_000],
    outcomes: { hooks: [{ ok: true, afterMs: 900 }], sets: [fails, fine], acks: [never, fine] },
  }),
  'restarted while an ack is in flight': script({
    restartsAt: [2600],
    outcomes: { hooks: [{ ok: true, afterMs: 0 }], sets: [{ ok: true, afterMs: 0 }], acks: [never] },
  }),
  'withdrawn while a hook runs': script({
    announced: [{ event: event(), from: 1000, until: 3000, startsAt: 99_000 }],
    outcomes: { hooks: [{ ok: true, afterMs: 6000 }], sets: [fine], acks: [fine] },
  }),
  'withdrawn and announced again': script({
    announced: [
      { event: event(), from: 1000, until: 5000, startsAt: 99_000 },
      { event: event({ id: 'B2', type: 'Terminate' }), from: 8000, until: 40_000, startsAt: 99_000 },
    ],
  }),
  'events of others, during a drain and after it': script({
    announced: [
      { event: event(), from: 4000, until: 20_000, startsAt: 99_000 },
      { event: event({ id: 'P1', resources: ['fleet_1'] }), from: 1000, until: 50_000, startsAt: 30_000 },
      { event: event({ id: 'P2', resources: ['fleet_3'] }), from: 4000, until: 6000, startsAt: 30_000 },
      { event: event({ id: 'P3', resources: ['fleet_4'] }), from: 15_000, until: 50_000, startsAt: 40_000 },
    ],
    restartsAt: [1500],
  }),
  'several events, some without a drain': script({
    announced: [
      { event: event({ type: 'Reboot', source: 'User' }), from: 0, until: 40_000, startsAt: 20_000 },
      { event: event({ id: 'F', type: 'Freeze' }), from: 2000, until: 9000, startsAt: 5000 },
      {
        event: event({ id: 'N', notBefore: undefined, source: undefined, durationSeconds: undefined }),
        from: 4000,
        until: 40_000,
        startsAt: 5000,
      },
      { event: event({ id: 'U', type: 'Levitate' }), from: 0, until: 9000, startsAt: SERVER_EPOCH },
    ],
  }),
};

/** What is not kept: a document that is asked for again, and a stop that is over. */
function kept(state: State): State {
  return { ...state, undecided: undefined, stopping: false };
}

describe('every state that the core comes to', () => {
  it.for(Object.entries(HISTORIES))('is read back as it was written: %s', async ([, history]) => {
    const { states } = play(history);
    const distinct = new Map(states.map(({ state }) => [JSON.stringify(state), state]));
    for (const state of distinct.values()) {
      const text = JSON.stringify({ version: 1, bootId: 'b', state: toKept(state) });
      expect(fromKept(JournalFile.parse(JSON.parse(text)).state)).toEqual(kept(state));
    }
    // Through the file too, of each phase once: each write is an fsync.
    const byPhase = new Map(
      [...distinct.values()].map((state) => [state.drain?.phase ?? state.watched.length, state]),
    );
    expect(byPhase.size).toBeGreaterThan(2);
    for (const state of byPhase.values()) {
      await createJournal({ dir, bootId: 'b' }).write(state);
      expect(await createJournal({ dir, bootId: 'b' }).load()).toEqual({
        kind: 'same-boot',
        state: kept(state),
      });
    }
  });

  it('comes through all phases and all kinds of acknowledgement', () => {
    const states = Object.values(HISTORIES).flatMap((history) => play(history).states);
    const phases = new Set(states.map(({ state }) => state.drain?.phase));
    expect(phases).toEqual(
      new Set([
        'ack',
        'after-checkpoint',
        'before-checkpoint',
        'checkpoint',
        'report',
        'resuming',
        'waiting',
        'withdrawn',
        undefined,
      ]),
    );
    const acks = new Set(states.flatMap(({ state }) => state.watched.map(({ ack }) => ack.kind)));
    expect(acks).toEqual(new Set(['accepted', 'in-doubt', 'open', 'retrying', 'sending', 'withheld']));
  });
});
