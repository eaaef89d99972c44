import type { MonotonicMs } from '../base/clock.ts';
import { isDraining } from './drain.ts';
import type { Effect } from './effect.ts';
import { type EventDocument, type ScheduledEvent, eventKey } from './event.ts';
import { ABSENCES_MEAN_GONE, absenceCounter, describe } from './event-facts.ts';
import { hookEndedNote, isOver } from './hook-stage.ts';
import { eventPolicy, hookApplies } from './policy.ts';
import type { HookResult } from './ports.ts';
import type { PeerHookRun, PeerNotice, State } from './state.ts';
import { type Context, type Step, note, step } from './step.ts';

/** The hooks that run when other VMs are to be evicted. Nothing here drains or acknowledges. */

/** As many evictions of others are remembered at a time; further ones have their turn when some are gone. */
const NOTICES_MAX = 64;
/** For so many of them hooks run at the same time; those of the others wait. */
const RUNNING_MAX = 4;
/** A runner answers by its own limit; one that doesn't is given up this much later. */
const RESULT_GRACE_MS = 1000;

/** An event that doesn't name this VM: once, when it is new, the hooks for peers are called for. */
export function applyPeerEvent(context: Context, state: State, event: ScheduledEvent): Step<State> {
  const { policy, now } = context;
  const isKnown = state.peers.some((one) => eventKey(one.event.id) === eventKey(event.id));
  if (isKnown || state.peers.length >= NOTICES_MAX) return step(state);
  const hooks = policy.peerHooks
    .filter((hook) => hookApplies(policy, hook, event))
    .map(({ name, order, timeoutMs }): PeerHookRun => {
      return { name, order, timeoutMs, attempt: 0, run: { kind: 'pending' } };
    });
  if (hooks.length === 0 && eventPolicy(policy, event.type)?.drain !== true) return step(state);
  const notice: PeerNotice = { id: `${event.id}@${Math.floor(now.at)}`, event, absences: 0, hooks };
  const names = hooks.map(({ name }) => name);
  return step(
    { ...state, peers: [...state.peers, notice] },
    ...(hooks.length === 0 ? [] : [note('info', 'peer-noticed', { ...describe(event), hooks: names })]),
  );
}

/** Forgets events that are gone. A hook that runs then is let finish, one that has not begun is left out. */
export function applyPeerAbsences(state: State, document: EventDocument): Step<State> {
  if (state.peers.length === 0) return step(state);
  const effects: Effect[] = [];
  const absencesOf = absenceCounter(document);
  const peers = state.peers.flatMap((one) => {
    const counted = { ...one, absences: Math.min(absencesOf(one), ABSENCES_MEAN_GONE) };
    if (counted.absences < ABSENCES_MEAN_GONE) return [counted];
    const rest = skipPending(counted, effects);
    return rest.hooks.every(isOver) ? [] : [rest];
  });
  return step({ ...state, peers }, ...effects);
}

/** Starts what may start: never beside a drain of this VM, which needs all that the machine has. */
export function advancePeers(context: Context, state: State): Step<State> {
  if (state.peers.length === 0) return step(state);
  const effects: Effect[] = [];
  const given = state.peers.map((one) => giveUp(context, one, effects));
  let free = isDraining(state.drain) || state.stopping ? 0 : RUNNING_MAX - given.filter(isServed).length;
  const peers = given.map((one) => {
    if (isServed(one) || one.hooks.every(isOver) || free <= 0) return one;
    free -= 1;
    return startNext(context, one, effects);
  });
  return step(effects.length === 0 ? state : { ...state, peers }, ...effects);
}

/** The lowest order that isn't over; only called when none of its hooks runs. */
function startNext({ now }: Context, notice: PeerNotice, effects: Effect[]): PeerNotice {
  const open = notice.hooks.filter((hook) => !isOver(hook));
  const order = Math.min(...open.map((hook) => hook.order));
  const hooks = notice.hooks.map((hook): PeerHookRun => {
    if (hook.order !== order || isOver(hook)) return hook;
    const attempt = hook.attempt + 1;
    const { name, timeoutMs } = hook;
    effects.push({ kind: 'run-peer-hook', noticeId: notice.id, name, attempt, timeoutMs });
    return { ...hook, attempt, run: { kind: 'running', startedAt: now.at, endsAt: now.at + timeoutMs } };
  });
  return { ...notice, hooks };
}

/** Records a result; one that is not of this attempt changes nothing. */
export function applyPeerResult(
  state: State,
  noticeId: string,
  name: string,
  attempt: number,
  result: HookResult,
): Step<State> {
  const effects: Effect[] = [];
  const peers = state.peers.map((one) =>
    one.id === noticeId
      ? endHooks(
          one,
          (hook) => (hook.name === name && hook.attempt === attempt ? result : undefined),
          effects,
        )
      : one,
  );
  return step(effects.length === 0 ? state : { ...state, peers }, ...effects);
}

function giveUp({ now }: Context, notice: PeerNotice, effects: Effect[]): PeerNotice {
  return endHooks(
    notice,
    ({ run }) =>
      run.kind === 'running' && now.at >= run.endsAt + RESULT_GRACE_MS
        ? {
            kind: 'failed',
            reason: 'timeout',
            detail: 'its runner gave no result in time',
            durationMs: now.at - run.startedAt,
          }
        : undefined,
    effects,
  );
}

function endHooks(
  notice: PeerNotice,
  resultOf: (hook: PeerHookRun) => HookResult | undefined,
  effects: Effect[],
): PeerNotice {
  const hooks = notice.hooks.map((hook): PeerHookRun => {
    const result = hook.run.kind === 'running' ? resultOf(hook) : undefined;
    if (hook.run.kind !== 'running' || result === undefined) return hook;
    effects.push(hookEndedNote({ ...hook, stage: 'peer-notice', required: false }, result));
    return { ...hook, run: { kind: 'ended', startedAt: hook.run.startedAt, result } };
  });
  return { ...notice, hooks };
}

function skipPending(notice: PeerNotice, effects: Effect[]): PeerNotice {
  const hooks = notice.hooks.map((hook): PeerHookRun => {
    if (hook.run.kind !== 'pending') return hook;
    effects.push(note('warn', 'hook-skipped', { hook: hook.name, stage: 'peer-notice', why: 'withdrawn' }));
    return { ...hook, run: { kind: 'skipped', why: 'withdrawn' } };
  });
  return { ...notice, hooks };
}

/** After a restart the result of what ran is unknown: it is started again, as a further attempt. */
export function restartPeers(peers: readonly PeerNotice[]): readonly PeerNotice[] {
  return peers.map((one) => ({
    ...one,
    absences: 0,
    hooks: one.hooks.map((hook) =>
      hook.run.kind === 'running' ? { ...hook, run: { kind: 'pending' } as const } : hook,
    ),
  }));
}

/** After a reboot nobody here knows of what was before: what has not been told by then is not told any more. */
export function rebootPeers(peers: readonly PeerNotice[]): Step<readonly PeerNotice[]> {
  const effects: Effect[] = [];
  return step(
    restartPeers(peers).map((one) => skipPending(one, effects)),
    ...effects,
  );
}

/** When the hooks want to be looked at again. */
export function peerWakeTimes({ peers }: State): MonotonicMs[] {
  return peers.flatMap(({ hooks }) =>
    hooks.flatMap(({ run }) => (run.kind === 'running' ? [run.endsAt + RESULT_GRACE_MS] : [])),
  );
}

/** Does a hook run because of it? */
export function isServed({ hooks }: PeerNotice): boolean {
  return hooks.some(({ run }) => run.kind === 'running');
}
