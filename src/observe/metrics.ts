import { type Gauge, Registry } from 'prom-client';

import { eventKey } from '../core/event.ts';
import type { CheckpointReason, CommitResult, SetProgress, UploadEstimate } from '../core/ports.ts';
import type { Occasion } from '../core/policy.ts';
import {
  DRAIN_PHASES,
  type Drain,
  type DrainOutcome,
  type HookRun,
  type State,
  type Watched,
} from '../core/state.ts';
import type { Answer } from './http-listener.ts';
import { type Meters, createMeters } from './meters.ts';

/** What is looked up at the moment of a scrape. */
export interface Snapshot {
  /** `blind`, `identifying`, `watching`, or the phase of the drain. */
  readonly phase: string;
  /** No notice would be seen. */
  readonly isBlind: boolean;
  readonly isStateWritable: boolean;
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
  onNotification(result: 'sent' | 'failed'): void;
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
const PHASES = ['blind', 'identifying', 'watching', ...DRAIN_PHASES];
const OUTCOMES: readonly DrainOutcome[] = ['success', 'failure', 'withdrawn', 'rebooted'];
const REASONS: readonly CheckpointReason[] = ['notice', 'command', 'schedule', 'rebalance', 'shutdown'];

/** Prometheus metrics, with base units and closed sets of labels (prometheus.io/docs/practices/naming). */
export function createMetrics(options: MetricsOptions): Metrics {
  const registry = new Registry();
  const meters = createMeters(registry);
  meters.buildInfo.set({ version: options.version, node_version: options.nodeVersion }, 1);
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
      for (const { id, hooks } of after.peers) {
        const known = before.peers.find((one) => one.id === id)?.hooks ?? [];
        countHooks(meters, known, hooks, () => 'peer-notice');
      }
    },
    onCommit(set, reason, result) {
      meters.commits.inc({ set, reason, result: result.kind });
      if (result.kind !== 'committed') return;
      meters.commitDuration.observe({ set }, result.durationMs / 1000);
      meters.bytesSent.inc({ set }, result.bytesSent);
    },
    onNotification: (result) => meters.notifications.inc({ result }),
    async page(snapshot) {
      measure(meters, snapshot);
      return { status: 200, contentType: registry.contentType, body: await registry.metrics() };
    },
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
  for (const result of ['sent', 'failed']) meters.notifications.inc({ result }, 0);
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
  countHooks(meters, earlier?.hooks ?? [], drain.hooks, (hook) => hook.stage);
}

function countHooks<Hook extends Pick<HookRun, 'name' | 'run'>>(
  meters: Meters,
  before: readonly Hook[],
  after: readonly Hook[],
  stageOf: (hook: Hook) => Occasion,
): void {
  for (const hook of after) {
    const { name, run } = hook;
    const stage = stageOf(hook);
    const known = before.find((one) => one.name === name)?.run;
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
  meters.blind.set(Number(snapshot.isBlind));
  meters.stateWritable.set(Number(snapshot.isStateWritable));
  for (const { name: set, scanned, files, bytes, bytesStored, committedAt } of progress) {
    const isKnown = scanned || committedAt !== undefined;
    meters.isProtected.set({ set }, Number(!snapshot.isBlind && storeReady === true && isKnown));
    if (committedAt !== undefined) meters.lastCommit.set({ set }, committedAt / 1000);
    if (!scanned) continue;
    meters.setFiles.set({ set }, files);
    meters.setBytes.set({ set }, bytes);
    meters.setStored.set({ set }, bytesStored);
  }
  setOrRemove(meters.pending, storeReady === false ? undefined : upload?.bytesLeft, 1);
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
