import { unreachable } from '../base/assert.ts';
import type { MonotonicMs } from '../base/clock.ts';
import { backoffMs } from './backoff.ts';
import { workEndAt } from './budget.ts';
import type { Effect } from './effect.ts';
import type { CommitResult } from './ports.ts';
import type { Drain, SetRun, SetRunState } from './state.ts';
import { type Context, type Step, note, step } from './step.ts';

const RETRY_FIRST_MS = 200;
const RETRY_CAP_MS = 2000;
/** Of the time left when a priority began, the share after which the next one starts beside it. */
const PATIENCE = 0.5;

/**
 * Commits the sets by priority. A set that fails is tried again until the work must end, and neither it nor a set
 * that takes too long holds those of later priority for more than half of the time left.
 */
export function advanceSets(context: Context, drain: Drain): Step<Drain> {
  const end = workEndAt(context.policy, drain);
  const effects: Effect[] = [];
  const outOfTime = context.now.at >= end;
  const sets = drain.sets.map((set): SetRun => {
    if (outOfTime) return endOutOfTime(context, drain, set, effects);
    const due =
      set.run.kind === 'pending'
        ? mayStart(context, drain, set, end)
        : set.run.kind === 'retrying' && set.run.retryAt <= context.now.at;
    return due ? startSet(context, drain, set, end, effects) : set;
  });
  return step({ ...drain, sets }, ...effects);
}

function startSet(
  context: Context,
  drain: Drain,
  set: SetRun,
  endsAt: MonotonicMs,
  effects: Effect[],
): SetRun {
  const attempt = set.attempt + 1;
  effects.push({ kind: 'commit-set', drainId: drain.id, set: set.name, attempt, endsAt });
  const startedAt = context.now.at;
  return {
    ...set,
    attempt,
    firstStartedAt: set.firstStartedAt ?? startedAt,
    run: { kind: 'committing', startedAt },
  };
}

/** A set waits for the first try of each set before it, but not for ever. */
function mayStart(context: Context, drain: Drain, set: SetRun, end: MonotonicMs): boolean {
  return drain.sets
    .filter((other) => other.priority < set.priority)
    .every((other) => triedOnce(other) || patienceEndAt(other, end) <= context.now.at);
}

function triedOnce(set: SetRun): boolean {
  return isFinal(set) || set.run.kind === 'retrying' || (set.run.kind === 'committing' && set.attempt > 1);
}

function patienceEndAt(set: SetRun, end: MonotonicMs): MonotonicMs {
  return set.firstStartedAt === undefined
    ? Infinity
    : set.firstStartedAt + (end - set.firstStartedAt) * PATIENCE;
}

function endOutOfTime(context: Context, drain: Drain, set: SetRun, effects: Effect[]): SetRun {
  if (isFinal(set)) return set;
  // A commit that is running is being aborted by its own bound; half of the reserve is enough to say so.
  if (set.run.kind === 'committing' && context.now.at < abandonAt(context, drain)) return set;
  return endSet(set, lastFailure(set), effects);
}

function abandonAt(context: Context, drain: Drain): MonotonicMs {
  return drain.deadlineAt - context.policy.window.reserveMs / 2;
}

function lastFailure(set: SetRun): Extract<SetRunState, { kind: 'failed' }> {
  return set.run.kind === 'retrying'
    ? { kind: 'failed', code: set.run.code, detail: set.run.detail }
    : { kind: 'failed', code: 'timeout', detail: 'the window ended first' };
}

/** Records how a commit ended; a result of another attempt changes nothing. */
export function applySetResult(
  context: Context,
  drain: Drain,
  name: string,
  attempt: number,
  result: CommitResult,
): Step<Drain> {
  const effects: Effect[] = [];
  const sets = drain.sets.map((set) =>
    set.name === name && set.attempt === attempt && set.run.kind === 'committing'
      ? endSet(set, nextRun(context, drain, set, result), effects)
      : set,
  );
  return step(effects.length === 0 ? drain : { ...drain, sets }, ...effects);
}

function nextRun(context: Context, drain: Drain, set: SetRun, result: CommitResult): SetRunState {
  const { at } = context.now;
  if (result.kind === 'committed') {
    const { id, files, bytes, bytesSent } = result;
    return { kind: 'committed', at, id, files, bytes, bytesSent };
  }
  const { code, detail } = result;
  const retryAt = at + backoffMs(set.attempt, RETRY_FIRST_MS, RETRY_CAP_MS);
  const canRetry = result.retryable && drain.phase !== 'withdrawn' && at < workEndAt(context.policy, drain);
  return canRetry ? { kind: 'retrying', retryAt, code, detail } : { kind: 'failed', code, detail };
}

function endSet(set: SetRun, run: SetRunState, effects: Effect[]): SetRun {
  const level = run.kind === 'committed' ? 'info' : run.kind === 'retrying' ? 'warn' : 'error';
  const told = { set: set.name, attempt: set.attempt, result: run.kind, ...factsOf(run) };
  effects.push(note(level, 'set-ended', told));
  return { ...set, run };
}

/** For people: without monotonic times, and the failure's code under a name that isn't the note's own. */
function factsOf(run: SetRunState): Record<string, unknown> {
  switch (run.kind) {
    case 'committed': {
      const { id, files, bytes, bytesSent } = run;
      return { id, files, bytes, bytesSent };
    }
    case 'retrying':
    case 'failed':
      return { failure: run.code, detail: run.detail };
    case 'pending':
    case 'committing':
      return {};
    default:
      return unreachable(run);
  }
}

/** Nothing more is started for an event that is gone; what runs is let finish. */
export function stopUnstartedSets(drain: Drain): Drain {
  const sets = drain.sets.map((set) =>
    set.run.kind === 'pending' || set.run.kind === 'retrying'
      ? { ...set, run: { kind: 'failed', code: 'withdrawn', detail: 'the event was withdrawn' } as const }
      : set,
  );
  return { ...drain, sets };
}

export function isFinal(set: SetRun): boolean {
  return set.run.kind === 'committed' || set.run.kind === 'failed';
}

export function setsAreFinal(drain: Drain): boolean {
  return drain.sets.every(isFinal);
}

export function setsSucceeded(drain: Drain): boolean {
  return drain.sets.every((set) => set.run.kind === 'committed');
}

/** When the sets want to be looked at again. */
export function setWakeTimes(context: Context, drain: Drain): MonotonicMs[] {
  if (setsAreFinal(drain)) return [];
  const end = workEndAt(context.policy, drain);
  return [
    end,
    abandonAt(context, drain),
    ...drain.sets.flatMap((set) => {
      if (set.run.kind === 'retrying') return [set.run.retryAt];
      return set.run.kind === 'committing' ? [patienceEndAt(set, end)] : [];
    }),
  ];
}
