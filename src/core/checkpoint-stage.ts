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

/** One late try. What it has sent counts for the next one, so that it needn't be long enough for everything. */
const LATE_TRY_MS = 30_000;
/** For its answer, once it is over. */
const LATE_ANSWER_MS = 2000;
const LATE_RETRY_FIRST_MS = 1000;
const LATE_RETRY_CAP_MS = 10_000;
/** Tries in all, those in the window included: an hour or more. */
const LATE_TRIES_MAX = 500;
const REPORT_MS = 3000;

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
    if (!due) return set;
    const attempt = set.attempt + 1;
    effects.push({ kind: 'commit-set', drainId: drain.id, set: set.name, attempt, endsAt: end });
    const startedAt = context.now.at;
    const run = { kind: 'committing', startedAt, endsAt: undefined } as const;
    return { ...set, attempt, firstStartedAt: set.firstStartedAt ?? startedAt, run };
  });
  return step({ ...drain, sets }, ...effects);
}

/**
 * After the window, while the VM still lives: what might yet be saved is tried again until the event goes away or the VM
 * does. Nothing waits for it; the event stays unacknowledged, since its `after-checkpoint` hooks were told of a failure.
 */
export function advanceLateSets(context: Context, drain: Drain): Step<Drain> {
  const { at } = context.now;
  const effects: Effect[] = [];
  const sets = drain.sets.map((set): SetRun => {
    const { run } = set;
    if (run.kind === 'committing') {
      if (at < lateAnswerAt(run)) return set;
      return endSet(set, nextRun(context, drain, set, NO_ANSWER), effects);
    }
    const due =
      run.kind === 'pending' ||
      (run.kind === 'failed' && run.retryable) ||
      (run.kind === 'retrying' && run.retryAt <= at);
    if (!due) return set;
    const attempt = set.attempt + 1;
    const endsAt = at + LATE_TRY_MS;
    effects.push({ kind: 'commit-set', drainId: drain.id, set: set.name, attempt, endsAt });
    const firstStartedAt = set.firstStartedAt ?? at;
    return {
      ...set,
      attempt,
      firstStartedAt,
      late: true,
      run: { kind: 'committing', startedAt: at, endsAt },
    };
  });
  return step(effects.length === 0 ? drain : { ...drain, sets }, ...effects);
}

const NO_ANSWER: CommitResult = { kind: 'failed', code: 'timeout', detail: 'no answer', retryable: true };

function lateAnswerAt({ endsAt = 0 }: Extract<SetRunState, { kind: 'committing' }>): MonotonicMs {
  return endsAt + LATE_ANSWER_MS;
}

/** When late sets want to be looked at again. */
export function lateWakeTimes(drain: Drain): MonotonicMs[] {
  return drain.sets.flatMap(({ run }) => {
    if (run.kind === 'retrying') return [run.retryAt];
    return run.kind === 'committing' ? [lateAnswerAt(run)] : [];
  });
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
  if (set.run.kind === 'committing' && context.now.at < (set.run.endsAt ?? abandonAt(context, drain)))
    return set;
  return endSet(set, lastFailure(set), effects);
}

function abandonAt(context: Context, drain: Drain): MonotonicMs {
  return drain.deadlineAt - context.policy.window.reserveMs / 2;
}

function lastFailure(set: SetRun): Extract<SetRunState, { kind: 'failed' }> {
  return set.run.kind === 'retrying'
    ? { kind: 'failed', code: set.run.code, detail: set.run.detail, retryable: true }
    : { kind: 'failed', code: 'timeout', detail: 'the window ended first', retryable: true };
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
  if (effects.length === 0) return step(drain);
  const applied = { ...drain, sets };
  // The report that was written at the end of the window says that it is lost.
  const isSavedLate = drain.phase === 'waiting' && result.kind === 'committed';
  const endsAt = context.now.at + REPORT_MS;
  return step(applied, ...effects, ...(isSavedLate ? [reportEffect(applied, endsAt)] : []));
}

function reportEffect(drain: Drain, endsAt: MonotonicMs): Effect {
  return { kind: 'write-report', drain, endsAt };
}

function nextRun(context: Context, drain: Drain, set: SetRun, result: CommitResult): SetRunState {
  const { at } = context.now;
  if (result.kind === 'committed') {
    const { id, files, bytes, bytesSent } = result;
    return { kind: 'committed', at, id, files, bytes, bytesSent };
  }
  const { code, detail, retryable } = result;
  const canRetry = retryable && (set.late ? mayTryLate(drain, set) : mayTry(context, drain));
  if (!canRetry) return { kind: 'failed', code, detail, retryable: retryable && !set.late };
  const delayMs = set.late
    ? backoffMs(set.attempt, LATE_RETRY_FIRST_MS, LATE_RETRY_CAP_MS)
    : backoffMs(set.attempt, RETRY_FIRST_MS, RETRY_CAP_MS);
  return { kind: 'retrying', retryAt: at + delayMs, code, detail };
}

function mayTry(context: Context, drain: Drain): boolean {
  return drain.phase !== 'withdrawn' && context.now.at < workEndAt(context.policy, drain);
}

function mayTryLate(drain: Drain, set: SetRun): boolean {
  return drain.phase === 'waiting' && set.attempt < LATE_TRIES_MAX;
}

function endSet(set: SetRun, run: SetRunState, effects: Effect[]): SetRun {
  const level = run.kind === 'committed' ? 'info' : run.kind === 'retrying' ? 'warn' : 'error';
  const late = set.late ? { late: true } : {};
  const told = { set: set.name, attempt: set.attempt, result: run.kind, ...late, ...factsOf(run) };
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
      ? {
          ...set,
          run: {
            kind: 'failed',
            code: 'withdrawn',
            detail: 'the event was withdrawn',
            retryable: false,
          } as const,
        }
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
      return set.run.kind === 'committing' ? [patienceEndAt(set, end), set.run.endsAt ?? end] : [];
    }),
  ];
}
