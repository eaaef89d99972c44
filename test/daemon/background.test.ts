import { expect, test } from 'vitest';

import { EvictdError } from '../../src/base/errors.ts';
import type { CommitResult } from '../../src/core/ports.ts';
import { startBackground, type BackgroundOptions } from '../../src/daemon/background.ts';
import { manualClock } from '../imds/support.ts';

const OPTIONS: BackgroundOptions = {
  sets: ['a', 'b'],
  staging: { intervalMs: 30_000, idleMs: 5000, bytesPerSecond: 1e6 },
  everyMs: undefined,
};

/** Background work on an engine that only writes down what it is asked for, on a clock of the test's own. */
function rig(
  options: Partial<BackgroundOptions>,
  answer: { fails?: string | undefined; commit?: CommitResult; onlyFor?: string; isDraining?: boolean } = {},
) {
  const clock = manualClock();
  const calls: string[] = [];
  const told: string[] = [];
  const state = { isDraining: false, ...answer };
  const call = async (name: string) => {
    calls.push(name);
    if (state.fails !== undefined && name.endsWith(state.onlyFor ?? ''))
      throw new EvictdError(state.fails, `it is ${state.fails}`);
  };
  const background = startBackground(
    { ...OPTIONS, ...options },
    {
      checkpointer: {
        prepare: (set) => call(`prepare ${set}`),
        stageIdle: async (set) => {
          await call(`stage ${set}`);
          return undefined;
        },
        commitIfChanged: async (set) => {
          await call(`commit ${set}`);
          return state.commit;
        },
      },
      prune: (set) => call(`prune ${set}`),
      clock,
      random: () => 0.5,
      isDraining: () => state.isDraining,
      onCommit: (set, { kind }) => told.push(`${set} ${kind}`),
      onProblem: (set, { message }) => told.push(`${set}: ${message}`),
      onWorks: (set) => told.push(`${set} works`),
    },
  );
  return { background, clock, calls, told, state };
}

test('each set is prepared at once, and staged at every interval after a jittered start', async () => {
  const { background, clock, calls } = rig({});
  await clock.advance(0);
  expect(calls.splice(0)).toEqual(['prepare a', 'prune a', 'prepare b', 'prune b']);
  await clock.advance(14_999);
  expect(calls).toEqual([]);
  await clock.advance(1);
  expect(calls.splice(0)).toEqual(['stage a', 'stage b']);
  await clock.advance(30_000);
  expect(calls.splice(0)).toEqual(['stage a', 'stage b']);
  await background.stop();
  await clock.advance(60_000);
  expect(calls).toEqual([]);
});

test.each([undefined, OPTIONS.staging])(
  'after a drain that was under way at the start, each set is prepared soon (staging: %o)',
  async (staging) => {
    const { background, clock, calls, state } = rig({ staging }, { isDraining: true });
    await clock.advance(60_000);
    expect(calls).toEqual([]);
    state.isDraining = false;
    await clock.advance(5000);
    expect(calls).toEqual(['prepare a', 'prune a', 'prepare b', 'prune b']);
    await background.stop();
  },
);

test('nothing begins during a drain, and it goes on after it', async () => {
  const { background, clock, calls, state } = rig({ everyMs: 60_000 });
  await clock.advance(0);
  calls.splice(0);
  state.isDraining = true;
  await clock.advance(600_000);
  expect(calls).toEqual([]);
  state.isDraining = false;
  await clock.advance(60_000);
  expect(calls).toContain('stage b');
  expect(calls).toContain('commit a');
  await background.stop();
});

test('what fails is tried again, told once, seen in the status, and told when it is over', async () => {
  const { background, clock, calls, told, state } = rig({ sets: ['a'] }, { fails: 'forbidden' });
  await clock.advance(0);
  await clock.advance(60_000);
  expect(calls.length).toBeGreaterThan(2);
  expect(told).toEqual(['a: it is forbidden']);
  expect(background.problem()).toMatchObject({ code: 'forbidden' });
  state.fails = undefined;
  await clock.advance(60_000);
  expect(told).toEqual(['a: it is forbidden', 'a works']);
  expect(background.problem()).toBeUndefined();
  await background.stop();
});

test('a set that can not be looked at keeps no other from being staged', async () => {
  const { background, clock, calls } = rig({}, { fails: 'set-path-missing', onlyFor: ' a' });
  await clock.advance(0);
  await clock.advance(60_000);
  expect(calls).toContain('stage b');
  await background.stop();
});

test('giving way to a checkpoint is no trouble', async () => {
  const { background, clock, told } = rig({ sets: ['a'] }, { fails: 'gave-way' });
  await clock.advance(0);
  await clock.advance(60_000);
  expect(told).toEqual([]);
  expect(background.problem()).toBeUndefined();
  await background.stop();
});

test('without staging each set is only prepared, and a schedule is kept', async () => {
  const commit = {
    kind: 'committed',
    id: '00000001',
    files: 1,
    bytes: 1,
    bytesSent: 1,
    durationMs: 1,
  } as const;
  const { background, clock, calls, told } = rig({ staging: undefined, everyMs: 600_000 }, { commit });
  await clock.advance(0);
  await clock.advance(599_999);
  expect(calls.splice(0)).toEqual(['prepare a', 'prune a', 'prepare b', 'prune b']);
  await clock.advance(1);
  await clock.advance(0);
  expect(calls.toSorted()).toEqual(['commit a', 'commit b', 'prune a', 'prune b']);
  expect(told).toEqual(['a committed', 'b committed']);
  await background.stop();
});

test('older checkpoints are removed after one by command, and after a drain those that it has left over', async () => {
  const { background, clock, calls, state } = rig({ staging: undefined });
  await clock.advance(0);
  calls.splice(0);
  background.pruneSoon('a');
  await clock.advance(0);
  expect(calls.splice(0)).toEqual(['prune a']);
  state.isDraining = true;
  background.pruneSoon('a');
  background.pruneSoon('b');
  await clock.advance(60_000);
  expect(calls).toEqual([]);
  state.isDraining = false;
  await clock.advance(120_000);
  expect(calls.toSorted()).toEqual(['prune a', 'prune b']);
  await background.stop();
});

test('what is left of removing older checkpoints is removed after a drain, and after a failure', async () => {
  const { background, clock, calls, state } = rig({ staging: undefined, sets: ['a'] });
  await clock.advance(0);
  calls.splice(0);
  background.pruneSoon('a');
  state.isDraining = true;
  await clock.advance(60_000);
  expect(calls.splice(0)).toEqual(['prune a']);
  Object.assign(state, { isDraining: false, fails: 'forbidden' });
  await clock.advance(60_000);
  expect(calls.splice(0)).toEqual(['prune a']);
  state.fails = undefined;
  await clock.advance(60_000);
  expect(calls.splice(0)).toEqual(['prune a']);
  await clock.advance(600_000);
  expect(calls).toEqual([]);
  await background.stop();
});
