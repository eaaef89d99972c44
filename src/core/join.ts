import { newHookRun } from './drain.ts';
import { type HookPolicy, type Policy, type Stage, hookApplies } from './policy.ts';
import { DRAIN_PHASES, type Drain, type DrainPhase } from './state.ts';

/** The phases in which the hooks of a stage have not begun; every drain begins with those `before-checkpoint`. */
const PHASES_BEFORE: Readonly<Record<Stage, readonly DrainPhase[]>> = {
  'before-checkpoint': [],
  'after-checkpoint': ['before-checkpoint', 'checkpoint'],
  'on-resume': DRAIN_PHASES.filter((phase) => phase !== 'resuming'),
};

/** May a hook that is registered now still take part in this drain? Only if its stage has not begun. */
export function mayJoin(policy: Policy, drain: Drain, hook: HookPolicy): boolean {
  return PHASES_BEFORE[hook.stage].includes(drain.phase) && hookApplies(policy, hook, drain.event);
}

export function joinDrain(policy: Policy, drain: Drain, name: string): Drain {
  const hook = policy.hooks.find((one) => one.name === name);
  const isThere = drain.hooks.some((one) => one.name === name);
  if (hook === undefined || isThere || !mayJoin(policy, drain, hook)) return drain;
  return { ...drain, hooks: [...drain.hooks, newHookRun(hook)] };
}
