import type { MonotonicMs } from '../base/clock.ts';
import { grantMs } from './budget.ts';
import { setsSucceeded } from './checkpoint-stage.ts';
import type { Effect } from './effect.ts';
import type { Occasion, Stage } from './policy.ts';
import type { HookResult } from './ports.ts';
import type { Drain, HookRun } from './state.ts';
import { type Context, type Step, note, step } from './step.ts';

/**
 * A runner answers by its own limit; one that doesn't is given up this much later, so that the drain goes on.
 * Never more than half of the reserve, so that it also ends in time.
 */
const RESULT_GRACE_MS = 1000;

/** Starts what may start of a stage: the lowest order that isn't over, all of its hooks together. */
export function advanceHooks(context: Context, drain: Drain, stage: Stage): Step<Drain> {
  const effects: Effect[] = [];
  let hooks = drain.hooks.map((hook) => (hook.stage === stage ? giveUp(context, hook, effects) : hook));
  for (;;) {
    const open = hooks.filter((hook) => hook.stage === stage && !isOver(hook));
    const order = Math.min(...open.map((hook) => hook.order));
    if (open.length === 0 || open.some((hook) => hook.order === order && hook.run.kind === 'running')) break;
    const current: Drain = { ...drain, hooks };
    hooks = hooks.map((hook) =>
      hook.stage === stage && hook.order === order && hook.run.kind === 'pending'
        ? startHook(context, current, hook, effects)
        : hook,
    );
  }
  return step({ ...drain, hooks }, ...effects);
}

function startHook(context: Context, drain: Drain, hook: HookRun, effects: Effect[]): HookRun {
  const grant = grantMs(context.policy, drain, hook, context.now);
  if (grant === undefined) {
    effects.push(note('error', 'hook-skipped', { hook: hook.name, stage: hook.stage, why: 'no-time' }));
    return { ...hook, run: { kind: 'skipped', why: 'no-time' } };
  }
  const attempt = hook.attempt + 1;
  effects.push({
    kind: 'run-hook',
    drainId: drain.id,
    name: hook.name,
    stage: hook.stage,
    attempt,
    timeoutMs: grant,
    deadlineAt: hook.stage === 'on-resume' ? undefined : drain.deadlineAt,
    checkpoint: checkpointFor(drain, hook),
  });
  const startedAt = context.now.at;
  return { ...hook, attempt, run: { kind: 'running', startedAt, endsAt: startedAt + grant } };
}

/** Who cleans up after the checkpoint has to know whether there is one. */
function checkpointFor(drain: Drain, hook: HookRun): 'committed' | 'failed' | undefined {
  if (hook.stage !== 'after-checkpoint' || drain.sets.length === 0) return undefined;
  return setsSucceeded(drain) ? 'committed' : 'failed';
}

function giveUp(context: Context, hook: HookRun, effects: Effect[]): HookRun {
  if (hook.run.kind !== 'running' || context.now.at < giveUpAt(context, hook.run.endsAt)) return hook;
  const result: HookResult = {
    kind: 'failed',
    reason: 'timeout',
    detail: 'its runner gave no result in time',
    durationMs: context.now.at - hook.run.startedAt,
  };
  return endHook(hook, result, effects);
}

function giveUpAt(context: Context, endsAt: MonotonicMs): MonotonicMs {
  return endsAt + Math.min(RESULT_GRACE_MS, context.policy.window.reserveMs / 2);
}

/** Records a result; a result of an earlier attempt, or a second one, changes nothing. */
export function applyHookResult(
  drain: Drain,
  name: string,
  attempt: number,
  result: HookResult,
): Step<Drain> {
  const effects: Effect[] = [];
  const hooks = drain.hooks.map((hook) =>
    hook.name === name && hook.attempt === attempt && hook.run.kind === 'running'
      ? endHook(hook, result, effects)
      : hook,
  );
  return step(effects.length === 0 ? drain : { ...drain, hooks }, ...effects);
}

function endHook(hook: HookRun, result: HookResult, effects: Effect[]): HookRun {
  if (hook.run.kind !== 'running') return hook;
  effects.push(hookEndedNote(hook, result));
  return { ...hook, run: { kind: 'ended', startedAt: hook.run.startedAt, result } };
}

export function hookEndedNote(
  {
    name,
    stage,
    attempt,
    required,
  }: Pick<HookRun, 'name' | 'attempt' | 'required'> & { readonly stage: Occasion },
  result: HookResult,
): Effect {
  const { kind, ...facts } = result;
  const level = kind === 'succeeded' ? 'info' : required ? 'error' : 'warn';
  return note(level, 'hook-ended', {
    hook: name,
    stage,
    attempt,
    result: kind,
    ...facts,
    durationMs: Math.round(result.durationMs),
  });
}

export function skipPendingHooks(drain: Drain, why: 'no-time' | 'withdrawn'): Step<Drain> {
  const skipped = drain.hooks.filter((hook) => hook.stage !== 'on-resume' && hook.run.kind === 'pending');
  if (skipped.length === 0) return step(drain);
  const hooks = drain.hooks.map((hook) =>
    skipped.includes(hook) ? { ...hook, run: { kind: 'skipped', why } as const } : hook,
  );
  return step(
    { ...drain, hooks },
    ...skipped.map((hook) => note('warn', 'hook-skipped', { hook: hook.name, stage: hook.stage, why })),
  );
}

export function isOver(hook: Pick<HookRun, 'run'>): boolean {
  return hook.run.kind === 'ended' || hook.run.kind === 'skipped';
}

export function stageIsOver(drain: Drain, stage: Stage): boolean {
  return drain.hooks.every((hook) => hook.stage !== stage || isOver(hook));
}

export function hooksSucceeded(drain: Drain): boolean {
  return drain.hooks.every(
    (hook) =>
      hook.stage === 'on-resume' ||
      !hook.required ||
      (hook.run.kind === 'ended' && hook.run.result.kind === 'succeeded'),
  );
}

/** When the hooks want to be looked at again. */
export function hookWakeTimes(context: Context, drain: Drain): MonotonicMs[] {
  return drain.hooks.flatMap((hook) =>
    hook.run.kind === 'running' ? [giveUpAt(context, hook.run.endsAt)] : [],
  );
}
