import { describe, expect, it } from 'vitest';

import { describeStatus } from '../../src/cli/status-text.ts';
import type { HookRun } from '../../src/core/state.ts';
import { INITIAL_STATE } from '../../src/core/state.ts';
import { emptyProgress } from '../../src/daemon/checkpoint-host.ts';
import { type StatusSources, type StoreStatus, statusOf } from '../../src/daemon/status.ts';
import { hook as hookPolicy, policyWith } from '../core/support.ts';

const NOW = 100_000.4;
const READY: StoreStatus = { ready: true, error: undefined, remedy: undefined };

function hook(name: string, more: Partial<HookRun>): HookRun {
  return {
    name,
    stage: 'before-checkpoint',
    order: 50,
    required: true,
    timeoutMs: 1000,
    attempt: 1,
    run: { kind: 'pending' },
    ...more,
  };
}

function sources(hooks: readonly HookRun[], more: Partial<StatusSources> = {}): StatusSources {
  const event = { id: 'E1', type: 'Preempt', status: 'Scheduled', resources: ['fleet_0'] } as const;
  return {
    now: NOW,
    wallNow: 1_000_000.7,
    state: {
      ...INITIAL_STATE,
      vmName: 'fleet_0',
      drain: {
        id: 'D1',
        event: { ...event, notBefore: undefined, source: undefined, description: '', durationSeconds: -1 },
        startedAt: NOW - 3000,
        startedWall: 0,
        deadlineAt: NOW + 20_000.3,
        phase: 'before-checkpoint',
        hooks,
        sets: [],
        report: { kind: 'pending' },
        outcome: undefined,
        timeline: [],
      },
    },
    evictdVersion: '1',
    dryRun: false,
    poll: { lastGoodAt: NOW - 12.7, consecutiveFailures: 0 },
    pollError: undefined,
    stateProblem: undefined,
    policy: policyWith({ hooks: [] }),
    progress: [],
    upload: undefined,
    store: undefined,
    ...more,
  };
}

const HOOKS = [
  hook('resume', { stage: 'on-resume' }),
  hook('tell', { stage: 'after-checkpoint', order: 1, run: { kind: 'skipped', why: 'no-time' } }),
  hook('late', { order: 60, run: { kind: 'running', startedAt: NOW - 1234.5, endsAt: NOW } }),
  hook('broken', {
    order: 10,
    run: {
      kind: 'ended',
      startedAt: NOW,
      result: {
        kind: 'failed',
        reason: 'exit',
        detail: '/bin/a ended with exit code 3',
        durationMs: 25.406000000424683,
      },
    },
  }),
  hook('fine', {
    order: 20,
    attempt: 2,
    run: { kind: 'ended', startedAt: NOW, result: { kind: 'succeeded', durationMs: 1500.2 } },
  }),
];

describe('the status while nothing drains', () => {
  it('is one screen', () => {
    const idle = sources([], {
      policy: policyWith({
        hooks: [
          hookPolicy('registered/trainer', { order: 60, required: false, on: ['Preempt', 'Terminate'] }),
          hookPolicy('again', { stage: 'on-resume' }),
          hookPolicy('stop', { timeoutMs: 1500 }),
        ],
      }),
      progress: [
        {
          name: 'job',
          scanned: true,
          files: 12,
          bytes: 3 * 2 ** 30,
          bytesStored: 2 ** 31,
          bytesSent: 0,
          committedAt: 900_000,
          checkpointId: '00000003',
        },
        { ...emptyProgress('logs') },
      ],
      upload: { bytesLeft: 2 ** 30, bytesPerSecond: 2 ** 28 },
      store: READY,
    });
    const status = statusOf({ ...idle, state: { ...idle.state, drain: undefined } });
    expect(describeStatus(status)).toBe(`\
AT RISK      the set logs has not been looked at yet, and no checkpoint of it is known
             → evictd checkpoint takes one now
phase        watching (no event for this VM)
vm           fleet_0
last poll    answered 13 ms ago
hook         stop (before-checkpoint): order 50, up to 1.5 s
hook         registered/trainer (before-checkpoint): order 60, up to 10.0 s, optional, only Preempt and Terminate
hook         again (on-resume): order 50, up to 10.0 s
set          job: checkpoint 00000003 1 min 40 s ago; 12 files, 3.0 GiB, of it in the store 2.0 GiB
set          logs: no checkpoint known yet; not looked at yet
store        ready
a notice now would have to move 1.0 GiB, about 4.5 s of 30.0 s
`);
  });

  it.each<[hooks: string[], sets: string[], text: string]>([
    [[], [], 'WOULD SAVE NOTHING: there are neither hooks nor sets'],
    [['stop'], [], 'would only run the hooks'],
    [[], ['job'], 'unknown (not scanned yet)'],
  ])('with hooks %j and sets %j a notice now %j…', (hooks, sets, text) => {
    const policy = policyWith({ hooks: hooks.map((name) => hookPolicy(name)) });
    const upload = { bytesLeft: undefined, bytesPerSecond: undefined };
    expect(noticeNow({ policy, progress: sets.map(emptyProgress), upload, store: READY })).toBe(text);
  });

  it.each([
    [2048, undefined, 'would have to move 2.0 KiB, about 500 ms of 30.0 s (no rate measured yet)'],
    [2 ** 28, 2 ** 26, 'would have to move 256.0 MiB, about 4.5 s of 30.0 s'],
  ])('%d bytes at %s a second are what a notice now %j', (bytesLeft, bytesPerSecond, text) => {
    const upload = { bytesLeft, bytesPerSecond };
    expect(noticeNow({ progress: [emptyProgress('job')], upload, store: READY })).toBe(text);
  });
});

function noticeNow(more: Partial<StatusSources>): string | undefined {
  const idle = sources([], more);
  const status = statusOf({ ...idle, state: { ...idle.state, drain: undefined } });
  return /a notice now +(.*)/.exec(describeStatus(status))?.[1];
}

describe('the status of a drain', () => {
  it('says how far each set is', () => {
    const drain = sources([]);
    const set = { name: 'job', priority: 1, firstStartedAt: 0, late: false };
    const run = { kind: 'committing', startedAt: 0, endsAt: undefined } as const;
    const state = {
      ...drain.state,
      drain: drain.state.drain && { ...drain.state.drain, sets: [{ ...set, attempt: 2, run }] },
    };
    const text = describeStatus(statusOf({ ...drain, state, progress: [emptyProgress('job')] }));
    expect(text).toMatchInlineSnapshot(`
      "DRAINING     for the event E1
      phase        before-checkpoint (DRAINING: hooks before the checkpoint run)
      vm           fleet_0
      last poll    answered 13 ms ago
      drain        under way, 20.0 s left
      set          job: committing (attempt 2); no checkpoint known yet; not looked at yet
      "
    `);
  });

  it('shows hooks in the order in which they run, with state, time and why they failed', () => {
    const text = describeStatus(statusOf(sources(HOOKS)));
    expect(text.split('\n').filter((line) => line.startsWith('hook'))).toEqual([
      'hook         broken (before-checkpoint): failed after 25 ms, /bin/a ended with exit code 3',
      'hook         fine (before-checkpoint): succeeded after 1.5 s, attempt 2',
      'hook         late (before-checkpoint): running for 1.2 s',
      'hook         tell (after-checkpoint): skipped, there was no time left for it',
      'hook         resume (on-resume): pending',
    ]);
  });

  it('has whole milliseconds and words for programs', () => {
    const status = statusOf(sources(HOOKS));
    expect(status.drain?.hooks[0]).toEqual({
      name: 'broken',
      stage: 'before-checkpoint',
      state: 'failed',
      attempt: 1,
      durationMs: 25,
      reason: 'exit',
      detail: '/bin/a ended with exit code 3',
    });
    const fractions = JSON.stringify(status).match(/"\w+Ms":\d+\.\d+/g);
    expect(fractions).toBeNull();
  });

  it('says what is wrong with a store that was opened once', () => {
    const line = (store: Partial<typeof READY>) =>
      /store +(.*)/.exec(describeStatus(statusOf(sources([], { store: { ...READY, ...store } }))))?.[1];
    expect(line({ ready: true, error: undefined })).toBe('ready');
    expect(line({ ready: true, error: 'the role is gone' })).toBe('ready, but: the role is gone');
    expect(line({ ready: false, error: undefined })).toBe('not ready: opening');
  });
});
