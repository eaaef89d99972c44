import { Counter, Gauge, Histogram, Registry } from 'prom-client';

import { eventKey } from '../core/event.ts';
import type { CheckpointReason, CommitResult, SetProgress, UploadEstimate } from '../core/ports.ts';
import { DRAIN_PHASES, type Drain, type DrainOutcome, type State, type Watched } from '../core/state.ts';
import type { Answer } from './http-listener.ts';

/** What is looked up at the moment of a scrape. */
export interface Snapshot {
  /** `identifying`, `watching`, or the phase of the drain. */
  readonly phase: string;
  /** Until the end of the window; undefined where there is none. */
  readonly windowLeftMs: number | undefined;
  /** Of the newest good poll. */
  readonly lastGoodPollAgoMs: number | undefined;
  readonly progress: readonly SetProgress[];
  readonly upload: UploadEstimate | undefined;
  readonly storeReady: boolean | undefined;
  /** Guest wall clock, epoch ms. */
  readonly wallNow: number;
}

export interface Metrics {
  onGoodPoll(latencyMs: number): void;
  /** `code` is one of the error codes of the metadata client. */
  onFailedPoll(code: string): void;
  /** Every decision: what changed is counted. */
  onDecided(before: State, after: State): void;
  onCommit(set: string, reason: CheckpointReason, result: CommitResult): void;
  /** The text exposition format. */
  page(snapshot: Snapshot): Promise<Answer>;
}

export interface MetricsOptions {
  readonly version: string;
  readonly nodeVersion: string;
  /** Names of the checkpoint sets. */
  readonly sets: readonly string[];
}

/** Event types get a label each, so that a new one can't make a new time series. */
const TYPES = ['Preempt', 'Terminate', 'Reboot', 'Redeploy', 'Freeze', 'SpotRebalanceRecommendation'];
const PHASES = ['identifying', 'watching', ...DRAIN_PHASES];
const OUTCOMES: readonly DrainOutcome[] = ['success', 'failure', 'withdrawn', 'rebooted'];
const REASONS: readonly CheckpointReason[] = ['notice', 'command', 'schedule', 'rebalance'];

/** Prometheus metrics, with base units and closed sets of labels (prometheus.io/docs/practices/naming). */
export function createMetrics(options: MetricsOptions): Metrics {
  const registry = new Registry();
  const meters = createMeters(registry, options);
  startAtZero(meters, options.sets);
  return {
    onGoodPoll(latencyMs) {
      meters.polls.inc({ result: 'good' });
      meters.pollDuration.observe(latencyMs / 1000);
    },
    onFailedPoll: (code) => meters.polls.inc({ result: code }),
    onDecided(before, after) {
      countEvents(meters, before, after);
      countDrain(meters, before.drain, after.drain);
    },
    onCommit(set, reason, result) {
      meters.commits.inc({ set, reason, result: result.kind });
      if (result.kind !== 'committed') return;
      meters.commitDuration.observe({ set }, result.durationMs / 1000);
      meters.bytesSent.inc({ set }, result.bytesSent);
    },
    async page(snapshot) {
      measure(meters, snapshot);
      return { status: 200, contentType: registry.contentType, body: await registry.metrics() };
    },
  };
}

type Meters = ReturnType<typeof createMeters>;

function createMeters(registry: Registry, { version, nodeVersion }: MetricsOptions) {
  const registers = [registry];
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Counter({ name: `evictd_${name}`, help, labelNames: [...labelNames], registers });
  const gauge = <L extends string>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Gauge({ name: `evictd_${name}`, help, labelNames: [...labelNames], registers });
  const histogram = <L extends string>(
    name: string,
    help: string,
    buckets: number[],
    labelNames: readonly L[] = [],
  ) => new Histogram({ name: `evictd_${name}`, help, buckets, labelNames: [...labelNames], registers });
  gauge('build_info', 'What is running; always 1.', ['version', 'node_version']).set(
    { version, node_version: nodeVersion },
    1,
  );
  return {
    phase: gauge('phase', 'The phase that evictd is in has the value 1.', ['phase']),
    polls: counter('imds_polls_total', 'Polls of the scheduled events, by result.', ['result']),
    pollDuration: histogram(
      'imds_poll_duration_seconds',
      'Time that good polls took.',
      [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 3, 30, 120],
    ),
    lastGoodPoll: gauge('imds_last_good_poll_timestamp_seconds', 'When the newest good poll was answered.'),
    notices: counter('notices_total', 'Events noticed that name this VM.', ['type']),
    noticeWindow: histogram(
      'notice_window_seconds',
      'Time left when an event that drains was noticed.',
      [2, 5, 8, 10, 15, 20, 25, 30, 60, 300, 900],
    ),
    withdrawn: counter('events_withdrawn_total', 'Events that vanished while they were drained for.', [
      'type',
    ]),
    windowLeft: gauge('window_left_seconds', 'Time left in the window of the drain; absent without one.'),
    drains: counter('drains_total', 'Drains that ended, by outcome.', ['outcome']),
    phaseDuration: histogram(
      'drain_phase_duration_seconds',
      'Time that the phases of drains took.',
      [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60],
      ['phase'],
    ),
    hooks: counter('hook_runs_total', 'Hooks of drains, by stage and result.', ['stage', 'result']),
    hookDuration: histogram(
      'hook_duration_seconds',
      'Time that hooks took.',
      [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30],
      ['stage'],
    ),
    acks: counter('acks_total', 'Acknowledgements of events, by result.', ['result']),
    commits: counter('checkpoint_commits_total', 'Tries to commit a checkpoint.', [
      'set',
      'reason',
      'result',
    ]),
    commitDuration: histogram(
      'checkpoint_commit_duration_seconds',
      'Time that committing took, staging what was missing included.',
      [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 300],
      ['set'],
    ),
    bytesSent: counter('checkpoint_sent_bytes_total', 'Bytes sent for committed checkpoints.', ['set']),
    setFiles: gauge('checkpoint_files', 'Files of the set.', ['set']),
    setBytes: gauge('checkpoint_size_bytes', 'Size of the files of the set.', ['set']),
    setStored: gauge('checkpoint_stored_bytes', 'Of that size, committed or staged in the store.', ['set']),
    lastCommit: gauge(
      'checkpoint_last_commit_timestamp_seconds',
      'When the newest checkpoint of the set was committed; absent before the first.',
      ['set'],
    ),
    pending: gauge('checkpoint_pending_bytes', 'Bytes that a notice now would have to move.'),
    rate: gauge('checkpoint_upload_bytes_per_second', 'Measured rate of the upload.'),
    storeReady: gauge('checkpoint_store_ready', '1 while the store can be used.'),
    memory: new Gauge({
      name: 'process_resident_memory_bytes',
      help: 'Resident memory of evictd.',
      registers,
    }),
    cpu: new Counter({ name: 'process_cpu_seconds_total', help: 'CPU time of evictd.', registers }),
    startTime: new Gauge({ name: 'process_start_time_seconds', help: 'When evictd was started.', registers }),
  };
}

/** A counter that first appears with the value 1 has no increase: an alert on it would stay silent. */
function startAtZero(meters: Meters, sets: readonly string[]): void {
  for (const type of [...TYPES, 'other']) {
    meters.notices.inc({ type }, 0);
    meters.withdrawn.inc({ type }, 0);
  }
  for (const outcome of OUTCOMES) meters.drains.inc({ outcome }, 0);
  for (const result of ['accepted', 'failed', 'refused', 'withheld']) meters.acks.inc({ result }, 0);
  for (const set of sets) {
    meters.bytesSent.inc({ set }, 0);
    for (const reason of REASONS) {
      for (const result of ['committed', 'failed']) meters.commits.inc({ set, reason, result }, 0);
    }
  }
}

function countEvents(meters: Meters, before: State, after: State): void {
  for (const watched of after.watched) {
    const known = before.watched.find((one) => isSame(one, watched));
    const { deadlineAt, firstSeenAt, ack } = watched;
    if (known === undefined) {
      meters.notices.inc({ type: typeLabel(watched) });
      if (deadlineAt !== undefined) meters.noticeWindow.observe((deadlineAt - firstSeenAt) / 1000);
    }
    if (ack.kind === known?.ack.kind) continue;
    if (ack.kind === 'retrying') meters.acks.inc({ result: 'failed' });
    if (ack.kind === 'accepted' || ack.kind === 'refused' || ack.kind === 'withheld') {
      meters.acks.inc({ result: ack.kind });
    }
  }
  for (const watched of before.watched) {
    const gone = after.watched.every((one) => !isSame(one, watched));
    if (gone && watched.deadlineAt !== undefined) meters.withdrawn.inc({ type: typeLabel(watched) });
  }
}

function isSame(one: Watched, other: Watched): boolean {
  return eventKey(one.event.id) === eventKey(other.event.id);
}

function typeLabel({ event: { type } }: Watched): string {
  return TYPES.includes(type) ? type : 'other';
}

function countDrain(meters: Meters, before: Drain | undefined, drain: Drain | undefined): void {
  if (drain === undefined) return;
  const earlier = before?.id === drain.id ? before : undefined;
  if (drain.outcome !== undefined && drain.outcome !== earlier?.outcome) {
    meters.drains.inc({ outcome: drain.outcome });
  }
  for (const [index, { phase, at }] of drain.timeline.entries()) {
    const next = drain.timeline[index + 1];
    if (next === undefined || (earlier?.timeline.length ?? 0) > index + 1) continue;
    meters.phaseDuration.observe({ phase }, (next.at - at) / 1000);
  }
  for (const { name, stage, run } of drain.hooks) {
    const known = earlier?.hooks.find((hook) => hook.name === name)?.run;
    if (run.kind === known?.kind) continue;
    if (run.kind === 'skipped') meters.hooks.inc({ stage, result: 'skipped' });
    if (run.kind !== 'ended') continue;
    const { result } = run;
    meters.hooks.inc({ stage, result: result.kind === 'failed' ? result.reason : result.kind });
    meters.hookDuration.observe({ stage }, result.durationMs / 1000);
  }
}

function measure(meters: Meters, snapshot: Snapshot): void {
  const { windowLeftMs, lastGoodPollAgoMs, progress, upload, storeReady, wallNow } = snapshot;
  for (const phase of PHASES) meters.phase.set({ phase }, phase === snapshot.phase ? 1 : 0);
  setOrRemove(meters.windowLeft, windowLeftMs, 1 / 1000);
  setOrRemove(
    meters.lastGoodPoll,
    lastGoodPollAgoMs === undefined ? undefined : wallNow - lastGoodPollAgoMs,
    1 / 1000,
  );
  for (const { name: set, files, bytes, bytesStored, committedAt } of progress) {
    meters.setFiles.set({ set }, files);
    meters.setBytes.set({ set }, bytes);
    meters.setStored.set({ set }, bytesStored);
    if (committedAt !== undefined) meters.lastCommit.set({ set }, committedAt / 1000);
  }
  setOrRemove(meters.pending, upload?.bytesLeft, 1);
  setOrRemove(meters.rate, upload?.bytesPerSecond, 1);
  setOrRemove(meters.storeReady, storeReady === undefined ? undefined : Number(storeReady), 1);
  const { user, system } = process.cpuUsage();
  meters.cpu.reset();
  meters.cpu.inc((user + system) / 1e6);
  meters.memory.set(process.memoryUsage.rss());
  meters.startTime.set(Math.round(wallNow / 1000 - process.uptime()));
}

/** What isn't known has no sample: a zero would be a lie. */
function setOrRemove(gauge: Gauge, value: number | undefined, factor: number): void {
  if (value === undefined) gauge.remove();
  else gauge.set(value * factor);
}
