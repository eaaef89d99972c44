import type { Drain, State } from '../core/state.ts';

/** What happened in a drain, for the store: it outlives the VM. A stable contract; times are RFC 3339 or ms. */
export interface DrainReport {
  readonly version: 1;
  readonly eventId: string;
  readonly eventType: string;
  readonly eventStatus: string;
  readonly resources: readonly string[];
  readonly vmName: string | undefined;
  readonly evictdVersion: string;
  /** Guest clock. */
  readonly noticedAt: string;
  readonly windowMs: number;
  readonly outcome: string;
  readonly timeline: readonly { readonly phase: string; readonly atMs: number }[];
  readonly hooks: readonly Readonly<Record<string, unknown>>[];
  readonly sets: readonly Readonly<Record<string, unknown>>[];
  readonly acks: readonly { readonly eventId: string; readonly ack: string }[];
  /** The last lines of the daemon's own log, as logged. */
  readonly log: readonly string[];
}

export interface ReportContext {
  readonly state: State;
  readonly evictdVersion: string;
  readonly logLines: readonly string[];
}

export function reportOf(drain: Drain, context: ReportContext): DrainReport {
  const since = (at: number) => Math.round(at - drain.startedAt);
  return {
    version: 1,
    eventId: drain.event.id,
    eventType: drain.event.type,
    eventStatus: drain.event.status,
    resources: drain.event.resources,
    vmName: context.state.vmName,
    evictdVersion: context.evictdVersion,
    noticedAt: new Date(drain.startedWall).toISOString(),
    windowMs: since(drain.deadlineAt),
    outcome: drain.outcome ?? 'unfinished',
    // After a reboot the clock began anew: what came then has no time on this line.
    timeline: drain.timeline
      .filter(({ at }) => at >= drain.startedAt)
      .map(({ phase, at }) => ({ phase, atMs: since(at) })),
    hooks: drain.hooks.map(({ name, stage, required, attempt, run }) => ({
      name,
      stage,
      required,
      attempt,
      state: run.kind,
      ...(run.kind === 'ended' ? { startedMs: since(run.startedAt), ...describeResult(run.result) } : {}),
      ...(run.kind === 'skipped' ? { why: run.why } : {}),
    })),
    sets: drain.sets.map(({ name, attempt, late, run }) => {
      const { kind, ...rest } = run;
      const atMs = run.kind === 'committed' ? { atMs: since(run.at) } : {};
      return { name, attempt, state: kind, ...(late && { late }), ...omitInner(rest), ...atMs };
    }),
    acks: context.state.watched.map(({ event, ack }) => ({ eventId: event.id, ack: ack.kind })),
    log: context.logLines,
  };
}

function describeResult(result: {
  readonly kind: string;
  readonly durationMs: number;
}): Record<string, unknown> {
  const { kind, durationMs, ...rest } = result;
  return { result: kind, durationMs: Math.round(durationMs), ...rest };
}

/** Monotonic times mean nothing outside this boot, and whether it is tried again nothing in a report. */
function omitInner(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).filter(
      ([key]) => !['at', 'retryAt', 'startedAt', 'endsAt', 'retryable'].includes(key),
    ),
  );
}
