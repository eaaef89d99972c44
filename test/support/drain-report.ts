import type { DrainReport } from '../../src/observe/drain-report.ts';

/** The report of a drain that went well: a hook of 9 s, then a set. */
export function drainReport(change: Partial<DrainReport> = {}): DrainReport {
  return {
    version: 1,
    eventId: 'E1',
    eventType: 'Preempt',
    eventStatus: 'Scheduled',
    resources: ['spot_3'],
    vmName: 'spot_3',
    evictdVersion: '1.0.0',
    noticedAt: '2026-01-01T00:00:00.000Z',
    windowMs: 30_000,
    writtenMs: 13_000,
    outcome: 'success',
    timeline: [
      { phase: 'before-checkpoint', atMs: 0 },
      { phase: 'checkpoint', atMs: 9000 },
    ],
    hooks: [hookReport({ startedMs: 0, durationMs: 9000 })],
    sets: [setReport()],
    acks: [{ eventId: 'E1', ack: 'open' }],
    log: [],
    ...change,
  };
}

export function hookReport(change: Partial<DrainReport['hooks'][number]> = {}) {
  return {
    name: 'stop-workers',
    stage: 'before-checkpoint',
    required: true,
    attempt: 1,
    state: 'succeeded',
    ...change,
  };
}

export function setReport(change: Partial<DrainReport['sets'][number]> = {}) {
  const MIB = 1024 ** 2;
  return {
    name: 'job',
    attempt: 1,
    state: 'committed',
    startedMs: 9000,
    committedMs: 12_400,
    bytesSent: 640 * MIB,
    files: 12,
    bytes: 2048 * MIB,
    bytesNotStored: 0,
    ...change,
  };
}
