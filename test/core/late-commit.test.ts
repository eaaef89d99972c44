import { expect, it } from 'vitest';

import { wakeAt } from '../../src/core/decide.ts';
import type { Effect } from '../../src/core/effect.ts';
import { event, hook, type Life, noticed, policyWith } from './support.ts';

/** A life whose window (30 s, 2 s of it reserved) ended without a commit. */
function outOfTime(policy = policyWith({ hooks: [] })): Life {
  const life = noticed(policy);
  life.tick(28_000);
  life.tick(29_000);
  expect(life.state.drain?.phase).toBe('waiting');
  return life;
}

const committing = (life: Life) => life.log().filter((line) => line.startsWith('commit-set')).length;
const reports = (life: Life) => life.effects.filter(({ kind }) => kind === 'write-report');
const notes = (effects: readonly Effect[]) => effects.filter((effect) => effect.kind === 'note');

it('a set that the window was too short for goes on being committed while the VM lives', () => {
  const life = outOfTime();
  expect(life.effects.at(-1)).toMatchObject({ kind: 'commit-set', set: 'job', attempt: 2, endsAt: 59_000 });
  expect(reports(life)).toHaveLength(1);

  life.at = 40_000;
  const effects = life.setEnds('job', true, 2);
  expect(notes(effects)).toMatchObject([
    { level: 'info', code: 'set-ended', fields: { set: 'job', result: 'committed', late: true } },
  ]);
  // The report says what was saved after all; the outcome stays what the hooks were told.
  expect(reports(life)).toHaveLength(2);
  expect(reports(life)[1]).toMatchObject({
    drain: { outcome: 'failure', sets: [{ late: true, run: { kind: 'committed' } }] },
    endsAt: 43_000,
  });
  life.tick(100_000);
  expect(committing(life)).toBe(2);
});

it('late tries are repeated with pauses, and what hangs does not end them', () => {
  const life = outOfTime();
  life.at = 30_000;
  life.setEnds('job', false, 2);
  expect(wakeAt(life.policy, life.state, life.at)).toBe(32_000);
  life.tick(31_999);
  expect(committing(life)).toBe(2);
  life.tick(32_000);
  expect(committing(life)).toBe(3);
  // The answer to this one never comes.
  expect(wakeAt(life.policy, life.state, life.at)).toBe(64_000);
  life.tick(64_000);
  expect(life.state.drain?.sets[0]?.run).toMatchObject({ kind: 'retrying', retryAt: 68_000 });
  life.tick(68_000);
  expect(committing(life)).toBe(4);
  // An answer that nobody waits for any more.
  life.setEnds('job', true, 3);
  expect(life.state.drain?.sets[0]?.run.kind).toBe('committing');
});

it('what can not succeed is not tried again, and tries end', () => {
  const hopeless = noticed(policyWith({ hooks: [] }));
  hopeless.setEnds('job', false, 1, false);
  hopeless.reportEnds();
  hopeless.tick(100_000);
  expect(committing(hopeless)).toBe(1);

  const life = outOfTime();
  life.setEnds('job', false, 2, false);
  life.tick(100_000);
  expect(committing(life)).toBe(2);

  const endless = outOfTime();
  for (let attempt = 2; attempt <= 600; attempt++) {
    endless.setEnds('job', false, attempt);
    endless.tick(endless.at + 10_000);
  }
  expect(committing(endless)).toBe(500);
  expect(wakeAt(endless.policy, endless.state, endless.at)).toBeUndefined();
});

it('an event that was not acknowledged for a failure stays so after a late commit', () => {
  const life = outOfTime(policyWith({ hooks: [hook('tell', { stage: 'after-checkpoint' })] }));
  life.setEnds('job', true, 2);
  life.document([event()]);
  expect(life.log().some((line) => line.startsWith('acknowledge'))).toBe(false);
  expect(life.state.watched[0]?.ack).toEqual({ kind: 'withheld', reason: 'unsuccessful' });
});

it('nothing more is started once the event is gone; what runs ends first', () => {
  const running = outOfTime();
  running.at = 35_000;
  running.document([]);
  running.at = 36_000;
  running.document([]);
  expect(running.state.drain?.phase).toBe('withdrawn');
  running.setEnds('job', false, 2);
  expect(running.state.drain).toBeUndefined();
  expect(committing(running)).toBe(2);

  const paused = outOfTime();
  paused.setEnds('job', false, 2);
  paused.document([]);
  paused.document([]);
  expect(paused.state.drain).toBeUndefined();
});

it('one that never answers does not keep a withdrawn drain', () => {
  const life = outOfTime();
  life.at = 35_000;
  life.document([]);
  life.document([]);
  expect(life.state.drain?.phase).toBe('withdrawn');
  const wake = wakeAt(life.policy, life.state, life.at);
  expect(wake).toBe(59_000);
  life.tick(wake ?? 0);
  expect(life.state.drain).toBeUndefined();
});

it('a restart starts the late try anew', () => {
  const life = outOfTime();
  life.input({ ...life.moment(), kind: 'restarted' });
  expect(life.effects.at(-1)).toMatchObject({ kind: 'commit-set', attempt: 3, endsAt: 59_000 });
});

it('a late try that still runs makes way for the next drain', () => {
  const life = outOfTime();
  const late = life.drainId();
  life.at = 35_000;
  const effects = life.document([event(), event({ id: 'B2', type: 'Terminate', notBefore: undefined })]);
  expect(life.state.drain?.id).not.toBe(late);
  expect(effects).toContainEqual({
    kind: 'tighten',
    drainId: late,
    hooksEndAt: undefined,
    uploadsEndAt: 35_000,
  });
});
