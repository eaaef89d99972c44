import { describe, expect, it } from 'vitest';

import { type DrainReport, parseReport } from '../../src/observe/drain-report.ts';
import { reportPage } from '../../src/observe/report-page.ts';
import { drainReport, hookReport, setReport } from '../support/drain-report.ts';

const PAGE_TAGS =
  '!doctype body div h1 h2 head html line meta p pre rect span style svg table td text th title tr';
const NASTY = '<script>alert("1")</script>\u0000&\'';

function lostReport(): DrainReport {
  const lost = { name: 'job', attempt: 3, state: 'failed', files: 2, bytes: 4096 };
  const last = { id: '00000007', at: '2025-12-31T23:55:00.000Z' };
  return drainReport({
    outcome: 'failure',
    sets: [
      { ...lost, bytesNotStored: 1024, lastCheckpoint: last },
      { ...lost, name: 'logs' },
    ],
  });
}

describe('the page of a report', () => {
  it('says whether anything was lost, and what', () => {
    expect(reportPage(drainReport())).toContain('Nothing was lost: every set is committed.');
    expect(reportPage(lostReport())).toContain(
      'NOT SAVED: job (1.0 KiB not stored, last checkpoint 5 min 0 s before the notice); ' +
        'logs (size unknown, no checkpoint at all).',
    );
    expect(reportPage(drainReport({ sets: [] }))).toContain('No checkpoint is configured.');
  });

  it('has the timeline to scale', () => {
    const bars = [...reportPage(drainReport()).matchAll(/<rect x="(\d+)" y="\d+" width="(\d+)"/g)];
    const [phase, , hook, set] = bars.map(([, x, width]) => [Number(x), Number(width)]);
    expect(hook).toEqual(phase);
    // 3.4 s and 9 s.
    expect((set?.[1] ?? 0) / (hook?.[1] ?? 1)).toBeCloseTo(3.4 / 9, 1);
    expect(set?.[0]).toBe((hook?.[0] ?? 0) + (hook?.[1] ?? 0));
  });

  it('is text through and through, and needs nothing from elsewhere', () => {
    const page = reportPage(
      drainReport({
        eventId: NASTY,
        eventType: NASTY,
        vmName: NASTY,
        outcome: NASTY,
        noticedAt: NASTY,
        evictdVersion: NASTY,
        timeline: [{ phase: NASTY, atMs: 0 }],
        hooks: [
          hookReport({
            name: NASTY,
            stage: NASTY,
            state: NASTY,
            detail: NASTY,
            startedMs: 0,
            durationMs: 9000,
          }),
        ],
        sets: [
          setReport({ name: NASTY, state: NASTY, detail: NASTY, lastCheckpoint: { id: NASTY, at: NASTY } }),
        ],
        acks: [{ eventId: NASTY, ack: NASTY }],
        log: [NASTY, '</pre>'],
      }),
    );
    expect(page).not.toContain('\0');
    expect(page).not.toMatch(/<script|alert\("|<\/pre>.*<\/pre>/s);
    expect(page).not.toMatch(/https?:|src=|href=|url\(|@import/);
    const tags = new Set([...page.matchAll(/<\/?([a-z0-9!]+)/g)].map(([, tag]) => tag));
    expect(tags).toEqual(new Set(PAGE_TAGS.split(' ')));
  });
});

describe('a report that is read', () => {
  it('may have members that this version does not know', () => {
    const text = JSON.stringify({ ...drainReport(), weather: 'fine' });
    expect(parseReport(text)).toMatchObject({ eventId: 'E1', weather: 'fine' });
  });

  it.for([
    ['{', /JSON/],
    ['{"version":2}', /version/],
    [JSON.stringify({ ...drainReport(), hooks: 'none' }), /hooks/],
  ] as const)('is refused in words: %s', ([text, why]) => {
    expect(parseReport(text)).toMatch(why);
  });
});
