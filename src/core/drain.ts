import type { MonotonicMs } from '../base/clock.ts';
import { unreachable } from '../base/assert.ts';
import { checkpointSoftEndAt, isRunningInWindow, shorterHooksEndAt, workEndAt } from './budget.ts';
import {
  advanceLateSets,
  advanceSets,
  lateWakeTimes,
  setWakeTimes,
  setsAreFinal,
  setsSucceeded,
  stopUnstartedSets,
} from './checkpoint-stage.ts';
import type { Effect } from './effect.ts';
import type { ScheduledEvent } from './event.ts';
import { advanceHooks, hookWakeTimes, hooksSucceeded, skipPendingHooks, stageIsOver } from './hook-stage.ts';
import { type HookPolicy, type Policy, hookApplies } from './policy.ts';
import type { Drain, DrainOutcome, DrainPhase, HookRun, ReportState } from './state.ts';
import { type Context, type Step, andThen, note, step } from './step.ts';

/** The report is written before the ack; it may take this long, never more than half of the reserve at the end. */
const REPORT_MS = 3000;
/** NotBefore and Date have whole seconds: the same window comes out up to this much shorter from poll to poll. */
const JITTER_MS = 1000;

export function startDrain(context: Context, event: ScheduledEvent, deadlineAt: MonotonicMs): Step<Drain> {
  const { policy, now } = context;
  const drain: Drain = {
    id: `${event.id}@${Math.floor(now.at)}`,
    event,
    startedAt: now.at,
    startedWall: now.wallAt,
    deadlineAt,
    phase: 'before-checkpoint',
    hooks: policy.hooks.filter((hook) => hookApplies(policy, hook, event)).map(newHookRun),
    sets: policy.sets.map(({ name, priority }) => ({
      name,
      priority,
      attempt: 0,
      firstStartedAt: undefined,
      late: false,
      run: { kind: 'pending' },
    })),
    report: { kind: 'pending' },
    outcome: undefined,
    timeline: [{ phase: 'before-checkpoint', at: now.at }],
  };
  return step(drain, ...stageSets(context, drain));
}

/** Chunks are sent while the hooks still run, so that after them only the last changes are left to move. */
export function stageSets({ policy }: Context, drain: Drain): Effect[] {
  const sets = drain.sets.filter(({ run }) => run.kind === 'pending').map(({ name }) => name);
  if (sets.length === 0 || drain.phase !== 'before-checkpoint') return [];
  return [{ kind: 'stage-sets', drainId: drain.id, sets, endsAt: workEndAt(policy, drain) }];
}

/** The window got shorter: what runs must end earlier than it was told. */
export function tightenDrain(context: Context, drain: Drain, deadlineAt: MonotonicMs): Step<Drain> {
  const lostMs = drain.deadlineAt - deadlineAt;
  if (lostMs < JITTER_MS) return step(drain);
  const tightened = { ...drain, deadlineAt };
  const hooksEndAt = shorterHooksEndAt(context.policy, tightened, context.now, lostMs);
  const hooks = drain.hooks.map((hook) =>
    isRunningInWindow(hook) && hooksEndAt !== undefined
      ? { ...hook, run: { ...hook.run, endsAt: Math.min(hook.run.endsAt, hooksEndAt) } }
      : hook,
  );
  const uploadsEndAt = workEndAt(context.policy, tightened);
  return step({ ...tightened, hooks }, { kind: 'tighten', drainId: drain.id, hooksEndAt, uploadsEndAt });
}

/**
 * Another event for this VM while it already drains: one drain serves both. The deadline is the earlier one, hooks
 * that only the new type has are added, and what was committed before is committed again (only changes are sent).
 */
export function mergeEvent(
  context: Context,
  drain: Drain,
  event: ScheduledEvent,
  deadlineAt: MonotonicMs,
): Step<Drain> {
  const { policy } = context;
  const added = policy.hooks
    .filter((hook) => hookApplies(policy, hook, event) && drain.hooks.every(({ name }) => name !== hook.name))
    .map(newHookRun);
  const early = drain.phase === 'before-checkpoint' || drain.phase === 'checkpoint';
  if (early && added.length === 0) return tightenDrain(context, drain, deadlineAt);
  const merged: Drain = {
    ...drain,
    hooks: [...drain.hooks, ...added],
    // Also those under way: they may have read their files before the added hooks have run.
    sets: drain.sets.map((set) => ({ ...set, late: false, run: { kind: 'pending' } })),
    report: { kind: 'pending' },
    outcome: undefined,
  };
  return andThen(tightenDrain(context, merged, deadlineAt), (next) =>
    enter(context, next, 'before-checkpoint'),
  );
}

/**
 * Does this drain have to be over by that time? Not where the time had come, but for the reserve, when the drain began:
 * that is the window of an event which an earlier drain served, and which the VM has outlived.
 */
export function isBoundBy(policy: Policy, startedAt: MonotonicMs, deadlineAt: MonotonicMs): boolean {
  return deadlineAt - startedAt > policy.window.reserveMs;
}

const DRAINING: ReadonlySet<DrainPhase> = new Set([
  'before-checkpoint',
  'checkpoint',
  'after-checkpoint',
  'report',
]);

/** Is it in the middle of its work? */
export function isDraining(drain: Drain | undefined): boolean {
  return drain !== undefined && DRAINING.has(drain.phase);
}

/** Is there nothing left of this drain that a further event could join? */
export function isPast(context: Context, drain: Drain): boolean {
  return drain.phase === 'waiting' || context.now.at >= workEndAt(context.policy, drain);
}

export function newHookRun({ name, stage, order, required, timeoutMs, isGuest }: HookPolicy): HookRun {
  const guest = isGuest === true ? { isGuest } : {};
  return { name, stage, order, required, ...guest, timeoutMs, attempt: 0, run: { kind: 'pending' } };
}

/** Takes the drain as far as it can go now. Undefined: it is over, the VM lives on and is watched again. */
export function advanceDrain(context: Context, drain: Drain, acksFinal: boolean): Step<Drain | undefined> {
  let current = step<Drain>(drain);
  // Each phase is entered at most once per round; the bound only turns a mistake into a visible one.
  for (let round = 0; round < 10; round++) {
    const before = current.value.phase;
    const next = andThen(current, (value): Step<Drain | undefined> =>
      advancePhase(context, value, acksFinal),
    );
    if (next.value === undefined) return next;
    current = { value: next.value, effects: next.effects };
    if (current.value.phase === before) return current;
  }
  return current;
}

function advancePhase(context: Context, drain: Drain, acksFinal: boolean): Step<Drain | undefined> {
  const { at } = context.now;
  const outOfTime = at >= workEndAt(context.policy, drain);
  switch (drain.phase) {
    case 'before-checkpoint':
      return andThen(advanceHooks(context, drain, 'before-checkpoint'), (next) =>
        stageIsOver(next, 'before-checkpoint') ? enter(context, next, 'checkpoint') : step(next),
      );
    case 'checkpoint':
      return andThen(advanceSets(context, drain), (next) =>
        setsAreFinal(next) || at >= softEndAt(context, next)
          ? enter(context, next, 'after-checkpoint')
          : step(next),
      );
    case 'after-checkpoint':
      return andThen(
        andThen(advanceSets(context, drain), (next) => advanceHooks(context, next, 'after-checkpoint')),
        (next) =>
          setsAreFinal(next) && stageIsOver(next, 'after-checkpoint')
            ? enter(context, { ...next, outcome: outcomeOf(next) }, 'report')
            : step(next),
      );
    case 'report':
      return advanceReport(context, drain);
    case 'ack':
      if (!acksFinal && at < drain.deadlineAt) return step(drain);
      return andThen(enter(context, drain, 'waiting'), (next) => step(next, endNote(next, outOfTime)));
    case 'waiting':
      return advanceLateSets(context, drain);
    case 'withdrawn':
      return advanceWithdrawn(context, drain);
    case 'resuming':
      return andThen(advanceHooks(context, drain, 'on-resume'), (next) =>
        stageIsOver(next, 'on-resume') ? step(undefined, note('info', 'watching-again')) : step(next),
      );
    default:
      return unreachable(drain.phase);
  }
}

function advanceReport(context: Context, drain: Drain): Step<Drain> {
  const { at } = context.now;
  if (drain.report.kind === 'pending') {
    const endsAt = Math.max(
      at,
      Math.min(at + REPORT_MS, drain.deadlineAt - context.policy.window.reserveMs / 2),
    );
    const report: ReportState = { kind: 'writing', endsAt };
    const written: Drain = { ...drain, report };
    return step(written, { kind: 'write-report', drain: written, endsAt });
  }
  const over = drain.report.kind === 'done' || at >= reportEndAt(drain);
  return over ? enter(context, { ...drain, report: { kind: 'done' } }, 'ack') : step(drain);
}

/** The window may have become shorter since the report was begun. */
function reportEndAt({ report, deadlineAt }: Drain): MonotonicMs {
  return report.kind === 'writing' ? Math.min(report.endsAt, deadlineAt) : deadlineAt;
}

/** The event is gone and the VM lives: start nothing, let finish what runs, then undo the drain. */
export function withdrawDrain(context: Context, drain: Drain): Step<Drain> {
  if (drain.phase === 'resuming' || drain.phase === 'withdrawn') return step(drain);
  return andThen(skipPendingHooks(stopUnstartedSets(drain), 'withdrawn'), (next) =>
    enter(context, next, 'withdrawn'),
  );
}

function advanceWithdrawn(context: Context, drain: Drain): Step<Drain> {
  const settled = andThen(advanceSets(context, drain), (next) =>
    andThen(advanceHooks(context, next, 'before-checkpoint'), (then) =>
      advanceHooks(context, then, 'after-checkpoint'),
    ),
  );
  const { value } = settled;
  const over =
    setsAreFinal(value) && stageIsOver(value, 'before-checkpoint') && stageIsOver(value, 'after-checkpoint');
  return over ? andThen(settled, (next) => resumeFrom(context, next, 'withdrawn')) : settled;
}

/** Undoes a drain that did not end in an eviction: its outcome is recorded, then `on-resume` hooks run. */
export function resumeFrom(context: Context, drain: Drain, outcome: DrainOutcome): Step<Drain> {
  const closed: Drain = { ...drain, outcome: drain.outcome ?? outcome };
  // The report is not waited for: nothing depends on it any more.
  const report: Effect[] =
    drain.report.kind === 'done'
      ? []
      : [{ kind: 'write-report', drain: closed, endsAt: context.now.at + REPORT_MS }];
  return andThen(enter(context, { ...closed, report: { kind: 'done' } }, 'resuming'), (next) =>
    step(next, ...report),
  );
}

export function outcomeOf(drain: Drain): DrainOutcome {
  return hooksSucceeded(drain) && setsSucceeded(drain) ? 'success' : 'failure';
}

function enter(context: Context, drain: Drain, phase: DrainPhase): Step<Drain> {
  const { at } = context.now;
  // No window any more; and after a reboot these times would be those of another clock.
  const times =
    phase === 'resuming'
      ? {}
      : { sinceNoticeMs: Math.round(at - drain.startedAt), leftMs: Math.round(drain.deadlineAt - at) };
  return step(
    { ...drain, phase, timeline: [...drain.timeline, { phase, at }].slice(-32) },
    note('info', 'phase', { phase, ...times }),
  );
}

function endNote(drain: Drain, outOfTime: boolean): Effect {
  const failed = drain.sets.filter(({ run }) => run.kind === 'failed').map(({ name }) => name);
  return note(drain.outcome === 'success' ? 'info' : 'error', 'drain-ended', {
    outcome: drain.outcome,
    outOfTime,
    ...(failed.length > 0 ? { setsNotCommitted: failed } : {}),
  });
}

function softEndAt(context: Context, drain: Drain): MonotonicMs {
  const entered = drain.timeline.findLast(({ phase }) => phase === 'checkpoint');
  return checkpointSoftEndAt(context.policy, drain, entered?.at ?? drain.startedAt);
}

/** When the drain wants to be looked at again, whatever else happens. */
export function drainWakeTimes(context: Context, drain: Drain): MonotonicMs[] {
  if (drain.phase === 'waiting') return lateWakeTimes(drain);
  return [
    ...hookWakeTimes(context, drain),
    ...setWakeTimes(context, drain),
    ...(drain.phase === 'checkpoint' ? [softEndAt(context, drain)] : []),
    ...(drain.phase === 'ack' ? [drain.deadlineAt] : []),
    ...(drain.report.kind === 'writing' ? [reportEndAt(drain)] : []),
  ];
}

/** After a restart the result of what ran is unknown: it is started again, as a further attempt. */
export function restartDrain(drain: Drain): Drain {
  return {
    ...drain,
    hooks: drain.hooks.map((hook) =>
      hook.run.kind === 'running' ? { ...hook, run: { kind: 'pending' } } : hook,
    ),
    sets: drain.sets.map((set) =>
      set.run.kind === 'committing' ? { ...set, run: { kind: 'pending' } } : set,
    ),
    report: drain.report.kind === 'writing' ? { kind: 'pending' } : drain.report,
  };
}

export function newestPolicySets(policy: Policy, drain: Drain): Drain {
  const known = new Set(policy.sets.map(({ name }) => name));
  return { ...drain, sets: drain.sets.filter(({ name }) => known.has(name)) };
}
