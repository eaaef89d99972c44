import { buildInfo } from '../base/version.ts';
import type { ReportFile } from '../checkpoint/retention/reports.ts';
import type { CheckpointPort, SetProgress } from '../core/ports.ts';
import type { Drain, HookRun, SetRun, State } from '../core/state.ts';
import type { DrainReport, SetReport } from '../observe/drain-report.ts';
import { reportPage } from '../observe/report-page.ts';

export interface ReportContext {
  /** Monotonic, of this moment. */
  readonly now: number;
  readonly state: State;
  /** Undefined without a `checkpoint` section. */
  readonly checkpoints: Pick<CheckpointPort, 'progress'> | undefined;
  readonly log: readonly string[];
}

export function reportOf(drain: Drain, context: ReportContext): DrainReport {
  const since = (at: number) => Math.round(at - drain.startedAt);
  const progressOf = (set: string) => context.checkpoints?.progress().find(({ name }) => name === set);
  return {
    version: 1,
    eventId: drain.event.id,
    eventType: drain.event.type,
    eventStatus: drain.event.status,
    resources: [...drain.event.resources],
    vmName: context.state.vmName,
    evictdVersion: buildInfo().version,
    noticedAt: new Date(drain.startedWall).toISOString(),
    windowMs: since(drain.deadlineAt),
    writtenMs: Math.max(0, since(context.now)),
    outcome: drain.outcome ?? 'unfinished',
    // After a reboot the clock began anew: what came then has no time on this line.
    timeline: drain.timeline
      .filter(({ at }) => at >= drain.startedAt)
      .map(({ phase, at }) => ({ phase, atMs: since(at) })),
    hooks: drain.hooks.map((hook) => hookReport(hook, since)),
    sets: drain.sets.map((set) => setReport(set, progressOf(set.name), since)),
    acks: context.state.watched.map(({ event, ack }) => ({ eventId: event.id, ack: ack.kind })),
    log: [...context.log],
  };
}

/** The report as it is stored: for programs, and as a page. */
export function reportFiles(report: DrainReport): readonly ReportFile[] {
  return [
    {
      extension: 'json',
      contentType: 'application/json',
      body: Buffer.from(JSON.stringify(report, null, 2)),
    },
    { extension: 'html', contentType: 'text/html; charset=utf-8', body: Buffer.from(reportPage(report)) },
  ];
}

type Since = (at: number) => number;

function hookReport(
  { name, stage, required, attempt, run }: HookRun,
  since: Since,
): DrainReport['hooks'][number] {
  const hook = { name, stage, required, attempt };
  if (run.kind === 'skipped') return { ...hook, state: run.kind, reason: run.why };
  if (run.kind !== 'ended') return { ...hook, state: run.kind };
  const { kind, durationMs, ...failure } = run.result;
  return {
    ...hook,
    state: kind,
    startedMs: since(run.startedAt),
    durationMs: Math.round(durationMs),
    ...failure,
  };
}

/** Without monotonic times, which mean nothing outside this boot. */
function setReport(
  { name, attempt, late, firstStartedAt, run }: SetRun,
  progress: SetProgress | undefined,
  since: Since,
): SetReport {
  const { committedAt, checkpointId } = progress ?? {};
  const { files = 0, bytes = 0 } = run.kind === 'committed' ? run : (progress ?? {});
  return {
    name,
    attempt,
    state: run.kind,
    ...(late && { late }),
    ...(firstStartedAt === undefined ? {} : { startedMs: since(firstStartedAt) }),
    ...(run.kind === 'committed' ? { committedMs: since(run.at), id: run.id, bytesSent: run.bytesSent } : {}),
    ...(run.kind === 'failed' || run.kind === 'retrying' ? { code: run.code, detail: run.detail } : {}),
    files,
    bytes,
    bytesNotStored: bytesNotStored(run, progress),
    ...(committedAt === undefined || checkpointId === undefined
      ? {}
      : { lastCheckpoint: { id: checkpointId, at: new Date(committedAt).toISOString() } }),
  };
}

function bytesNotStored(run: SetRun['run'], progress: SetProgress | undefined): number | undefined {
  if (run.kind === 'committed') return 0;
  // A set whose files were never looked at: nobody knows.
  if (progress === undefined || progress.files === 0) return undefined;
  return Math.max(0, progress.bytes - progress.bytesStored);
}
