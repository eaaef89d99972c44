import { describe, expect, it } from 'vitest';

import { EvictdError } from '../../src/base/errors.ts';
import { describeStatus } from '../../src/cli/status-text.ts';
import { INITIAL_STATE, type State } from '../../src/core/state.ts';
import { emptyProgress } from '../../src/daemon/checkpoint-host.ts';
import { type ProtectionSources, protectionOf } from '../../src/daemon/protection.ts';
import { type StatusSources, statusOf } from '../../src/daemon/status.ts';
import { Life, SERVER_EPOCH, event, hook, policyWith } from '../core/support.ts';

const NOW = 1_000_000;
const JOB = { ...emptyProgress('job'), scanned: true, files: 3, bytes: 2048, bytesStored: 1024 };
const GOOD: ProtectionSources = {
  state: { ...INITIAL_STATE, vmName: 'fleet_2' },
  lastGoodPollAgoMs: 800,
  pollError: undefined,
  hooks: 1,
  progress: [JOB],
  store: { ready: true, error: undefined, remedy: undefined },
  stateProblem: undefined,
  upload: { expectedMs: 700, windowMs: 30_000 },
};

describe('whether a notice now would be seen and what it has to save would fit', () => {
  it.each<[what: string, change: Partial<ProtectionSources>, verdict: string, reasons: readonly RegExp[]]>([
    ['all is well', {}, 'protected', []],
    ['only hooks', { progress: [], store: undefined, upload: undefined }, 'protected', []],
    ['never an answer', { lastGoodPollAgoMs: undefined }, 'blind', [/has never answered/]],
    [
      'an answer long ago',
      { lastGoodPollAgoMs: 45_000, pollError: new EvictdError('x', 'refused', { remedy: 'see the route' }) },
      'blind',
      [/is silent for 45\.0 s \(refused\) → see the route$/],
    ],
    ['one late answer', { lastGoodPollAgoMs: 20_000 }, 'protected', []],
    ['no own name', { state: INITIAL_STATE }, 'blind', [/its own name is not known/]],
    [
      'nothing configured',
      { hooks: 0, progress: [], store: undefined },
      'unprotected',
      [/neither hooks nor sets/],
    ],
    [
      'a store that is refused',
      { store: { ready: false, error: 'HTTP 403', remedy: 'grant the role' }, upload: undefined },
      'unprotected',
      [/save nothing: the store can't be used: HTTP 403 → grant the role$/],
    ],
    [
      'a store that is opened',
      { store: { ready: false, error: undefined, remedy: undefined } },
      'unprotected',
      [/being opened/],
    ],
    [
      'a token that ends',
      { store: { ready: true, error: 'it expires', remedy: undefined } },
      'at-risk',
      [/it expires/],
    ],
    [
      'a set nobody looked at',
      { progress: [emptyProgress('logs')] },
      'at-risk',
      [/logs has not been looked at/],
    ],
    ['one with a checkpoint', { progress: [{ ...emptyProgress('logs'), committedAt: 1 }] }, 'protected', []],
    [
      'a full state disk',
      { stateProblem: new EvictdError('state-unwritable', 'ENOSPC', { remedy: 'free some' }) },
      'at-risk',
      [/would begin it anew: ENOSPC → free some/],
    ],
    [
      'too much to send',
      { upload: { expectedMs: 90_000, windowMs: 30_000 } },
      'at-risk',
      [/gives 30\.0 s, .* about 1 min 30 s/],
    ],
    [
      'two at once',
      { lastGoodPollAgoMs: undefined, store: { ready: false, error: 'gone', remedy: undefined } },
      'blind',
      [/never answered/, /save nothing/],
    ],
  ])('%s', (_, change, verdict, reasons) => {
    const found = protectionOf({ ...GOOD, ...change });
    expect(found.verdict).toBe(verdict);
    const texts = found.reasons.map(({ text, remedy }) =>
      remedy === undefined ? text : `${text} → ${remedy}`,
    );
    expect(texts).toHaveLength(reasons.length);
    for (const [at, reason] of reasons.entries()) expect(texts[at]).toMatch(reason);
  });
});

function screen(state: State, change: Partial<StatusSources> = {}): string {
  return describeStatus(statusOf(sources(state, change)));
}

function sources(state: State, change: Partial<StatusSources> = {}): StatusSources {
  return {
    now: NOW,
    wallNow: NOW,
    state,
    evictdVersion: '1',
    dryRun: false,
    poll: { lastGoodAt: NOW - 300, consecutiveFailures: 0 },
    pollError: undefined,
    stateProblem: undefined,
    policy: policyWith({ hooks: [], sets: [{ name: 'model', priority: 1 }] }),
    progress: [{ ...JOB, name: 'model' }],
    upload: { bytesLeft: 1024, bytesPerSecond: 2 ** 20 },
    store: { ready: true, error: undefined, remedy: undefined },
    ...change,
  };
}

describe('the screen', () => {
  it('of a VM that is protected, of a blind one and of one whose store is refused', () => {
    const watching: State = { ...INITIAL_STATE, vmName: 'fleet_2' };
    expect(screen(watching)).toMatchInlineSnapshot(`
      "PROTECTED    a notice would be seen, and what it has to save fits
      phase        watching (no event for this VM)
      vm           fleet_2
      last poll    answered 300 ms ago
      set          model: no checkpoint known yet; 3 files, 2.0 KiB, of it in the store 1.0 KiB
      store        ready
      a notice now would have to move 1.0 KiB, about 501 ms of 30.0 s
      "
    `);
    const blind = { poll: { lastGoodAt: undefined, consecutiveFailures: 40 } };
    expect(
      screen(watching, {
        ...blind,
        pollError: new EvictdError('imds-refused', 'the connection was refused'),
      }),
    ).toMatchInlineSnapshot(`
      "BLIND        no notice would be seen: the metadata service has never answered (the connection was refused)
                   → the first answer may take two minutes; then see \`evictd doctor\`
      phase        blind (the metadata service does not answer)
      vm           fleet_2
      last poll    none answered yet, 40 failed since: the connection was refused
      set          model: no checkpoint known yet; 3 files, 2.0 KiB, of it in the store 1.0 KiB
      store        ready
      a notice now would save NOTHING
      "
    `);
    const store = { ready: false, error: 'HTTP 403', remedy: 'grant the role Storage Blob Data Contributor' };
    // What the core is told then is that nothing is left to send.
    const upload = { bytesLeft: 0, bytesPerSecond: undefined };
    expect(screen(watching, { store, upload, progress: [emptyProgress('model')] })).toMatchInlineSnapshot(`
      "UNPROTECTED  a notice would save nothing: the store can't be used: HTTP 403
                   → grant the role Storage Blob Data Contributor
      phase        watching (no event for this VM)
      vm           fleet_2
      last poll    answered 300 ms ago
      set          model: no checkpoint known yet; not looked at yet
      store        not ready: HTTP 403
      a notice now would save NOTHING
      "
    `);
  });

  it('is no wider than the terminal, but for words that are', () => {
    const watching: State = { ...INITIAL_STATE, vmName: 'fleet_2' };
    const store = { ready: false, error: 'HTTP 403 '.repeat(20).trim(), remedy: 'grant the role '.repeat(9) };
    for (const columns of [80, 120]) {
      const lines = describeStatus(statusOf(sources(watching, { store })), { columns }).split('\n');
      expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(columns);
      expect(lines.filter((line) => line.startsWith('               ')).length).toBeGreaterThan(1);
    }
  });

  it('of a drain that failed says what is lost, what is being done and what a person can do', () => {
    const life = new Life(policyWith({ hooks: [hook('stop')], sets: [{ name: 'model', priority: 1 }] }));
    life.document([event({ notBefore: SERVER_EPOCH + 20_000 })]);
    life.hookEnds('stop', false);
    life.setEnds('model', false, 1, false);
    expect(screen(life.state, { now: 5000, poll: { lastGoodAt: 4900, consecutiveFailures: 0 } }))
      .toMatchInlineSnapshot(`
        "DRAIN FAILED not acknowledged
                     the set model is not committed (reset)
                     the hook stop failed (exit code 1)
                     → it is not tried again by itself: evictd checkpoint, or copy model elsewhere by hand
        phase        report (DRAINING: the report is stored)
        vm           fleet_2
        last poll    answered 100 ms ago
        event        Preempt A1 (Scheduled, 15.0 s left, ack open)
        drain        failure, 15.0 s left
        hook         stop (before-checkpoint): failed after 1 ms, exit code 1
        set          model: failed; no checkpoint known yet; 3 files, 2.0 KiB, of it in the store 1.0 KiB
        store        ready
        "
      `);
  });
});
