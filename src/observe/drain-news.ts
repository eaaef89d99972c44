import { formatDuration, formatSize } from '../base/units.ts';
import { cloudEvent } from '../core/cloud-event.ts';
import { eventDocument } from '../core/event-document.ts';
import type { ScheduledEvent } from '../core/event.ts';
import type { Drain, State } from '../core/state.ts';

/** What is told of a drain to those outside: at the notice, and again with the outcome. Plain JSON. */
export interface DrainNews {
  /** The same when it is told again after a crash. */
  readonly id: string;
  readonly kind: 'notice' | 'outcome';
  readonly vmName: string | undefined;
  readonly event: ScheduledEvent;
  /** Guest clock, epoch ms. */
  readonly at: number;
  /** Length of the window in ms. */
  readonly windowMs: number;
  readonly outcome?: string | undefined;
  /** What was not done, for people: `hook stop-workers: exit code 1`. */
  readonly failures?: readonly string[];
  readonly sets?: readonly SetNews[];
}

interface SetNews {
  readonly name: string;
  /** As `restore --at` takes it; undefined when the set was not committed. */
  readonly checkpointId: string | undefined;
  readonly bytes: number | undefined;
}

/** All that a state has to tell, whether it was told or not. */
export function newsOf(state: State, wallNow: number): readonly DrainNews[] {
  const { vmName, drain, watched } = state;
  const notices = watched.flatMap(({ event, firstSeenAt, deadlineAt }): DrainNews[] => {
    if (deadlineAt === undefined) return [];
    const id = `${event.id}/notice/${Math.floor(firstSeenAt)}`;
    return [{ id, kind: 'notice', vmName, event, at: wallNow, windowMs: deadlineAt - firstSeenAt }];
  });
  return drain?.outcome === undefined ? notices : [...notices, outcomeNews(drain, vmName, wallNow)];
}

function outcomeNews(drain: Drain, vmName: string | undefined, at: number): DrainNews {
  const { id, event, outcome, startedAt, deadlineAt } = drain;
  return {
    // One per drain, also when the event comes back.
    id: `${event.id}/outcome/${id.slice(id.lastIndexOf('@') + 1)}`,
    kind: 'outcome',
    vmName,
    event,
    at,
    windowMs: deadlineAt - startedAt,
    outcome,
    failures: asManyAsFit(failuresOf(drain)),
    sets: drain.sets.map(({ name, run }) => ({
      name,
      checkpointId: run.kind === 'committed' ? run.id : undefined,
      bytes: run.kind === 'committed' ? run.bytes : undefined,
    })),
  };
}

function failuresOf({ hooks, sets }: Drain): string[] {
  return [
    ...hooks.flatMap(({ name, run }) => {
      if (run.kind === 'skipped') return [`hook ${name} was not run: ${run.why}`];
      return run.kind === 'ended' && run.result.kind === 'failed'
        ? [`hook ${name}: ${run.result.detail}`]
        : [];
    }),
    ...sets.flatMap(({ name, run }) => (run.kind === 'failed' ? [`set ${name}: ${run.detail}`] : [])),
  ];
}

/** Teams takes 28 KiB in all, a queue 64 KiB; so enough is left for the sets, and for what is round each line. */
const FAILURES_BYTES_MAX = 12 * 1024;
const ROUND_A_LINE_BYTES = 80;

function asManyAsFit(lines: readonly string[]): readonly string[] {
  let left = FAILURES_BYTES_MAX;
  const tooMany = lines.findIndex((line) => {
    left -= Buffer.byteLength(JSON.stringify(line)) + ROUND_A_LINE_BYTES;
    return left < 0;
  });
  return tooMany === -1 ? lines : [...lines.slice(0, tooMany), `and ${lines.length - tooMany} more`];
}

/** One line for people. */
export function headline({ kind, vmName, event, windowMs, outcome }: DrainNews): string {
  const who = vmName ?? 'a VM';
  if (kind === 'notice') return `${who}: ${event.type} announced, ${formatDuration(windowMs)} to drain`;
  return `${who}: drain for ${event.type} ended with ${outcome ?? 'no outcome'}`;
}

/** What more there is to say, a line each. */
export function details({ event, failures = [], sets = [] }: DrainNews): readonly string[] {
  return [
    `event ${event.id}`,
    ...sets.map(({ name, checkpointId, bytes }) =>
      checkpointId === undefined
        ? `set ${name}: not saved`
        : `set ${name}: checkpoint ${checkpointId}, ${formatSize(bytes ?? 0)}`,
    ),
    ...failures,
  ];
}

/** The whole of it for programs. */
export function newsAsCloudEvent(news: DrainNews) {
  const { id, kind, vmName, event, at, windowMs, ...rest } = news;
  const window = { windowSeconds: Math.round(windowMs) / 1000 };
  const data = { vmName, event: eventDocument(event), ...window, ...rest };
  return cloudEvent({ id, kind, vmName, eventId: event.id, at, data });
}
