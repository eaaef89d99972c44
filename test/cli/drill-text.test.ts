import { describe, expect, it } from 'vitest';

import { describeDrill } from '../../src/cli/drill-text.ts';
import { type DrillFacts, drillResult } from '../../src/daemon/drill-result.ts';
import type { DrainReport } from '../../src/observe/drain-report.ts';
import { drainReport, hookReport, setReport } from '../support/drain-report.ts';

const MIB = 1024 ** 2;

const report = (change: Partial<DrainReport> = {}) =>
  drainReport({
    timeline: [
      { phase: 'before-checkpoint', atMs: 0 },
      { phase: 'checkpoint', atMs: 9000 },
      { phase: 'after-checkpoint', atMs: 12_500 },
      { phase: 'report', atMs: 13_000 },
      { phase: 'ack', atMs: 13_040 },
      { phase: 'waiting', atMs: 13_060 },
    ],
    hooks: [
      hookReport({ startedMs: 0, durationMs: 9000 }),
      hookReport({ name: 'tell', stage: 'after-checkpoint', startedMs: 12_500, durationMs: 480 }),
      hookReport({ name: 'restart', stage: 'on-resume', state: 'pending' }),
    ],
    ...change,
  });

function text(late: DrainReport, facts: Partial<DrillFacts> = {}, atEnd = late): string {
  const rehearsal = {
    report: atEnd,
    late,
    bytesPerSecond: 200 * MIB,
    bytesSent: new Map([['job', 640 * MIB]]),
    resumed: [{ name: 'restart', kind: 'succeeded', durationMs: 340 } as const],
  };
  const result = drillResult({
    rehearsal,
    timeouts: new Map([['stop-workers', 10_000]]),
    isDaemonRunning: true,
    notPart: [],
    store: 'container c of account a',
    leftBehind: undefined,
    ...facts,
  });
  return describeDrill(result, false);
}

describe('the text of a drill', () => {
  it('that fits shows each step against the window, and what could be better', () => {
    const facts = { notPart: ['the notification ops'] };
    expect(text(report(), facts)).toBe(`\
Drill: Preempt of spot_3, 30.0 s of notice

                   0 s                                 30.0 s
hook stop-workers  │████████████                            │ 9.0 s
set job            │            █████                       │ 3.4 s, sent 640.0 MiB of 2.0 GiB in 12 files
hook tell          │                 █                      │ 480 ms
report             │                 █                      │ 40 ms
acknowledgement    │                 █                      │ 20 ms
afterwards: hook restart succeeded after 340 ms

FITS: all is done 13.1 s after the notice, 16.9 s before the end
Moved 640.0 MiB at 200.0 MiB/s, committed 12.4 s after the notice, to container c of account a
To change:
  - make the hook stop-workers quicker, it is the slowest (9.0 s of 30.0 s), or lower its timeout so that others get the time
  - move less of the set job, it is the largest (640.0 MiB at 200.0 MiB/s): exclude what can be made anew, stage more often (checkpoint.background.interval and maxRate), or commit on a schedule (checkpoint.every)
  - the checkpoint was complete only after 12.4 s: notices of less than 10 s happen
Not part of a drill: the notification ops.
`);
  });

  it('that does not fit says what it would take, and what to change', () => {
    const failed = { state: 'failed', code: 'timeout', committedMs: undefined, bytesNotStored: 3584 * MIB };
    const atEnd = report({
      outcome: 'failure',
      hooks: [hookReport({ startedMs: 0, durationMs: 500 })],
      sets: [setReport({ startedMs: 500, ...failed })],
      timeline: [{ phase: 'waiting', atMs: 28_900 }],
    });
    const late = { ...atEnd, sets: [setReport({ startedMs: 500, committedMs: 46_000 })] };
    const facts = { isDaemonRunning: false, leftBehind: 'a blob' };
    expect(text(late, facts, atEnd)).toBe(`\
Drill: Preempt of spot_3, 30.0 s of notice

                   0 s                                 30.0 s
hook stop-workers  │█                                       │ 500 ms
set job            │ ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒ │ 28.4 s not committed
afterwards: hook restart succeeded after 340 ms

DOES NOT FIT: it would take about 46.0 s, the notice gives 30.0 s
Moved 640.0 MiB, 3.5 GiB left at 200.0 MiB/s, to container c of account a
  - set job was not committed: the window was over first, 3.5 GiB still to send
To change:
  - move less of the set job, it is the largest (4.1 GiB at 200.0 MiB/s): exclude what can be made anew, stage more often (checkpoint.background.interval and maxRate), or commit on a schedule (checkpoint.every)
  - start evictd (systemctl enable --now evictd): it is not running, so nothing was staged in the background, and all of that had to be sent
Left behind: a blob.
`);
  });

  it('that fails tells what is broken from what was too slow', () => {
    const broken = report({
      outcome: 'failure',
      hooks: [
        hookReport({
          state: 'failed',
          reason: 'timeout',
          detail: 'it did not end',
          startedMs: 0,
          durationMs: 4000,
        }),
        hookReport({
          name: 'tell',
          stage: 'after-checkpoint',
          state: 'failed',
          reason: 'exit',
          detail: 'exit code 3',
          startedMs: 0,
        }),
        hookReport({
          name: 'nice',
          stage: 'after-checkpoint',
          state: 'skipped',
          reason: 'no-time',
          required: false,
        }),
      ],
    });
    expect(text(broken).split('\n').slice(10, 15)).toEqual([
      'FAILS: something is broken, whatever the time',
      'Moved 640.0 MiB at 200.0 MiB/s, committed 12.4 s after the notice, to container c of account a',
      '  - hook stop-workers failed after 4.0 s: it did not end; it did not get its 10.0 s, which the upload and the other hooks need',
      '  - hook tell failed after 0 ms: exit code 3',
      '  - hook nice (optional) was not run: no time was left for it',
    ]);
  });
});
