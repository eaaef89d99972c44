import { spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';

import { describe, expect, it } from 'vitest';

import { INITIAL_STATE } from '../../src/core/state.ts';
import { type Metrics, type Snapshot, createMetrics } from '../../src/observe/metrics.ts';
import { Life, event, hook, policyWith, SERVER_EPOCH } from '../core/support.ts';
import { ensureDebianPackages } from '../tools/ensure-debian-packages.ts';

const { missing } = ensureDebianPackages(['prometheus']);

const SNAPSHOT: Snapshot = {
  phase: 'watching',
  isBlind: false,
  isStateWritable: true,
  windowLeftMs: undefined,
  lastGoodPollAgoMs: 500,
  progress: [
    {
      name: 'job',
      scanned: true,
      files: 800,
      bytes: 8 * 1024 ** 3,
      bytesStored: 7 * 1024 ** 3,
      bytesSent: 1,
      committedAt: 1_776_000_000_000,
      checkpointId: '00000007',
    },
  ],
  upload: { bytesLeft: 1024 ** 3, bytesPerSecond: 250_000_000 },
  storeReady: true,
  wallNow: 1_776_000_060_000,
};

/** A whole eviction, told to fresh metrics. */
function evicted(): Metrics {
  const metrics = createMetrics({ version: '1.2.3', nodeVersion: '26.0.0', sets: ['job'] });
  const life = new Life(policyWith({ hooks: [hook('stop'), hook('late', { stage: 'after-checkpoint' })] }));
  const tell = (act: () => void) => {
    const before = life.state;
    act();
    metrics.onDecided(before, life.state);
  };
  metrics.onGoodPoll(4);
  metrics.onFailedPoll('imds-timeout');
  tell(() => life.document([event({ notBefore: SERVER_EPOCH + 20_000 })]));
  life.at = 400;
  tell(() => life.hookEnds('stop'));
  life.at = 1400;
  tell(() => life.setEnds('job'));
  metrics.onCommit('job', 'notice', {
    kind: 'committed',
    id: '00000008',
    files: 800,
    bytes: 8 * 1024 ** 3,
    bytesSent: 64 * 1024 ** 2,
    durationMs: 1000,
  });
  metrics.onCommit('job', 'schedule', { kind: 'failed', code: 'network', detail: '', retryable: true });
  tell(() => life.hookEnds('late', false));
  tell(() => life.reportEnds());
  return metrics;
}

/** What depends on the process and the time is left out. */
async function samples(metrics: Metrics, snapshot = SNAPSHOT): Promise<string[]> {
  const { body } = await metrics.page(snapshot);
  return body
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#') && !line.startsWith('process_'));
}

describe('metrics', () => {
  it('say what an eviction was like', async () => {
    const lines = await samples(evicted());
    const told = lines.filter((line) => !line.includes('_bucket') && !line.endsWith(' 0'));
    expect(told.join('\n')).toMatchInlineSnapshot(`
      "evictd_phase{phase="watching"} 1
      evictd_imds_polls_total{result="good"} 1
      evictd_imds_polls_total{result="imds-timeout"} 1
      evictd_imds_poll_duration_seconds_sum 0.004
      evictd_imds_poll_duration_seconds_count 1
      evictd_imds_last_good_poll_timestamp_seconds 1776000059.5
      evictd_notices_total{type="Preempt"} 1
      evictd_notice_window_seconds_sum 20
      evictd_notice_window_seconds_count 1
      evictd_drains_total{outcome="failure"} 1
      evictd_drain_phase_duration_seconds_sum{phase="before-checkpoint"} 0.4
      evictd_drain_phase_duration_seconds_count{phase="before-checkpoint"} 1
      evictd_drain_phase_duration_seconds_sum{phase="checkpoint"} 1
      evictd_drain_phase_duration_seconds_count{phase="checkpoint"} 1
      evictd_drain_phase_duration_seconds_count{phase="after-checkpoint"} 1
      evictd_drain_phase_duration_seconds_count{phase="report"} 1
      evictd_drain_phase_duration_seconds_count{phase="ack"} 1
      evictd_hook_runs_total{stage="before-checkpoint",result="succeeded"} 1
      evictd_hook_runs_total{stage="after-checkpoint",result="exit"} 1
      evictd_hook_duration_seconds_sum{stage="before-checkpoint"} 0.001
      evictd_hook_duration_seconds_count{stage="before-checkpoint"} 1
      evictd_hook_duration_seconds_sum{stage="after-checkpoint"} 0.001
      evictd_hook_duration_seconds_count{stage="after-checkpoint"} 1
      evictd_acks_total{result="withheld"} 1
      evictd_checkpoint_commits_total{set="job",reason="notice",result="committed"} 1
      evictd_checkpoint_commits_total{set="job",reason="schedule",result="failed"} 1
      evictd_checkpoint_commit_duration_seconds_sum{set="job"} 1
      evictd_checkpoint_commit_duration_seconds_count{set="job"} 1
      evictd_checkpoint_sent_bytes_total{set="job"} 67108864
      evictd_protected{set="job"} 1
      evictd_checkpoint_files{set="job"} 800
      evictd_checkpoint_size_bytes{set="job"} 8589934592
      evictd_checkpoint_stored_bytes{set="job"} 7516192768
      evictd_checkpoint_last_commit_timestamp_seconds{set="job"} 1776000000
      evictd_checkpoint_pending_bytes 1073741824
      evictd_checkpoint_upload_bytes_per_second 250000000
      evictd_checkpoint_store_ready 1
      evictd_build_info{version="1.2.3",node_version="26.0.0"} 1
      evictd_state_writable 1"
    `);
  });

  it('pass promtool', async ({ skip }) => {
    if (missing.length > 0) skip('promtool is missing');
    const { body } = await evicted().page({ ...SNAPSHOT, phase: 'waiting', windowLeftMs: 12_345 });
    const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], {
      input: body,
      encoding: 'utf8',
    });
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: '', stderr: '' });
  });

  it('count the hooks that run because of other VMs, as a stage of their own', async () => {
    const metrics = createMetrics({ version: '1.2.3', nodeVersion: '26.0.0', sets: [] });
    const life = new Life(policyWith({ peerHooks: [hook('ring', { required: false })] }));
    const tell = (act: () => void) => {
      const before = life.state;
      act();
      metrics.onDecided(before, life.state);
    };
    tell(() => life.document([event({ resources: ['fleet_9'] })]));
    const noticeId = life.state.peers[0]?.id ?? '';
    const result = { kind: 'succeeded', durationMs: 2 } as const;
    const ended = { kind: 'peer-hook-ended', noticeId, name: 'ring', attempt: 1, result } as const;
    tell(() => life.input({ ...life.moment(), ...ended }));
    tell(() => life.document([event({ resources: ['fleet_9'] })]));
    expect((await samples(metrics)).filter((line) => /hook_runs|hook_duration.*count/.test(line))).toEqual([
      'evictd_hook_runs_total{stage="peer-notice",result="succeeded"} 1',
      'evictd_hook_duration_seconds_count{stage="peer-notice"} 1',
    ]);
  });

  it('have no sample for what is not known', async () => {
    const metrics = createMetrics({ version: '1.2.3', nodeVersion: '26.0.0', sets: [] });
    const unknown: Snapshot = {
      ...SNAPSHOT,
      lastGoodPollAgoMs: undefined,
      progress: [],
      upload: { bytesLeft: undefined, bytesPerSecond: undefined },
      storeReady: undefined,
    };
    await metrics.page(SNAPSHOT);
    const lines = await samples(metrics, unknown);
    for (const name of [
      'window_left',
      'last_good_poll',
      'pending_bytes',
      'bytes_per_second',
      'store_ready',
    ]) {
      expect(lines.filter((line) => line.includes(name))).toEqual([]);
    }
  });

  it('make no time series of what comes from outside', async () => {
    const metrics = createMetrics({ version: '1.2.3', nodeVersion: '26.0.0', sets: [] });
    const before = (await samples(metrics)).length;
    const life = new Life(
      policyWith({ events: { Evil: { drain: false, ack: 'never', checkpoint: false } } }),
    );
    life.document(Array.from({ length: 20 }, (_, n) => event({ id: `E${n}`, type: 'Evil' })));
    metrics.onDecided({ ...INITIAL_STATE, vmName: 'fleet_2' }, life.state);
    const after = await samples(metrics);
    expect(after).toHaveLength(before);
    expect(after).toContain('evictd_notices_total{type="other"} 20');
  });
});

describe('the files for Prometheus and Grafana', () => {
  const folder = new URL('../../packaging/', import.meta.url);

  it('have rules that fire when they should', ({ skip }) => {
    if (missing.length > 0) skip('promtool is missing');
    const { status, stdout, stderr } = spawnSync('promtool', ['test', 'rules', 'evictd-alerts.test.yaml'], {
      cwd: new URL('prometheus/', folder),
      encoding: 'utf8',
    });
    expect(`${stdout}${stderr}`).toContain('SUCCESS');
    expect(status).toBe(0);
  });

  it.each(['prometheus/evictd-alerts.yaml', 'grafana/evictd-dashboard.json'])(
    '%s ask only for metrics that there are',
    async (file) => {
      const { body } = await evicted().page({ ...SNAPSHOT, windowLeftMs: 1 });
      const text = await readFile(new URL(file, folder), 'utf8');
      const asked = new Set(text.match(/\bevictd_[a-z_]+/g));
      expect(asked.size).toBeGreaterThan(3);
      expect(
        [...asked].filter((name) => !body.includes(`\n${name}{`) && !body.includes(`\n${name} `)),
      ).toEqual([]);
    },
  );
});
