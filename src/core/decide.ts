import { unreachable } from '../base/assert.ts';
import type { MonotonicMs } from '../base/clock.ts';
import { type Work, ackIsFinal, ackWakeTimes, advanceAcks, applyAckResult } from './ack.ts';
import { applyDocument, checkpointsFor } from './announcements.ts';
import { applySetResult } from './checkpoint-stage.ts';
import {
  advanceDrain,
  drainWakeTimes,
  isDraining,
  newestPolicySets,
  restartDrain,
  resumeFrom,
  stageSets,
} from './drain.ts';
import type { Decision, Input } from './effect.ts';
import type { EventDocument } from './event.ts';
import { applyHookResult } from './hook-stage.ts';
import { joinDrain } from './join.ts';
import { advancePeers, applyPeerResult, peerWakeTimes, rebootPeers, restartPeers } from './peers.ts';
import type { Policy } from './policy.ts';
import type { Drain, State, Watched } from './state.ts';
import { type Context, type Step, andThen, note, step } from './step.ts';

/**
 * The whole life of the daemon: what happened goes in, what is to be remembered and done comes out.
 * Pure and total. The caller persists the state before it performs the effects, in their order.
 */
export function decide(policy: Policy, state: State, input: Input): Decision {
  const context: Context = { policy, now: input };
  const applied = andThen(apply(context, state, input), (value) => advance(context, value));
  return { state: applied.value, effects: applied.effects };
}

function apply(context: Context, state: State, input: Input): Step<State> {
  switch (input.kind) {
    case 'identified':
      return applyIdentity(context, state, input.vmName);
    case 'document':
      return applyDocument(context, state, input.document);
    case 'poll-failed':
    case 'tick':
      return step(state);
    case 'restarted':
      return applyRestart(context, state);
    case 'rebooted':
      return applyReboot(context, state);
    case 'hook-ended':
      return onDrain(state, input.drainId, (drain) =>
        applyHookResult(drain, input.name, input.attempt, input.result),
      );
    case 'peer-hook-ended':
      return applyPeerResult(state, input.noticeId, input.name, input.attempt, input.result);
    case 'set-ended':
      return onDrain(state, input.drainId, (drain) =>
        applySetResult(context, drain, input.set, input.attempt, input.result),
      );
    case 'hook-registered':
      return step(
        state.drain === undefined
          ? state
          : { ...state, drain: joinDrain(context.policy, state.drain, input.name) },
      );
    case 'report-ended':
      return onDrain(state, input.drainId, (drain) =>
        step(drain.report.kind === 'writing' ? { ...drain, report: { kind: 'done' } } : drain),
      );
    case 'ack-ended':
      return applyAckResult(context, state, input.eventId, input.attempt, input.result);
    case 'checkpoint-ended':
      return step({
        ...state,
        watched: state.watched.map((one) =>
          one.event.id === input.eventId ? { ...one, checkpoint: 'ended' } : one,
        ),
      });
    case 'stop-requested':
      return step({ ...state, stopping: true });
    default:
      return unreachable(input);
  }
}

/** Goes as far as possible at this moment: acks and the drain depend on each other, so both are asked in turn. */
function advance(context: Context, state: State): Step<State> {
  let current = step(state);
  for (let round = 0; round < 4; round++) {
    const before = current.value;
    current = andThen(current, (value) => advanceAcks(context, value, (watched) => workOf(value, watched)));
    current = andThen(current, (value) => advanceOnce(context, value));
    if (current.value.drain?.phase === before.drain?.phase) break;
  }
  current = andThen(current, (value) => advancePeers(context, value));
  const { drain, stopping } = current.value;
  const idle = drain === undefined || drain.phase === 'waiting';
  return stopping && idle ? andThen(current, (value) => step(value, { kind: 'exit' })) : current;
}

function advanceOnce(context: Context, state: State): Step<State> {
  if (state.drain === undefined) return step(state);
  const acksFinal = state.watched.every((watched) => watched.deadlineAt === undefined || ackIsFinal(watched));
  return andThen(advanceDrain(context, state.drain, acksFinal), (drain) => step({ ...state, drain }));
}

function workOf(state: State, watched: Watched): Work {
  const { drain } = state;
  if (watched.deadlineAt === undefined) {
    // To approve a reboot in the middle of a drain would end the drain.
    return isDraining(drain) || watched.checkpoint === 'taking' ? 'unfinished' : 'none';
  }
  if (drain === undefined || (drain.phase !== 'ack' && drain.phase !== 'waiting')) return 'unfinished';
  return drain.outcome === 'success' ? 'success' : 'failure';
}

/** A result for a drain that is no longer the current one changes nothing. */
function onDrain(state: State, drainId: string, change: (drain: Drain) => Step<Drain>): Step<State> {
  if (state.drain?.id !== drainId) return step(state);
  return andThen(change(state.drain), (drain) => step(drain === state.drain ? state : { ...state, drain }));
}

function applyIdentity(context: Context, state: State, vmName: string): Step<State> {
  if (state.vmName === vmName) return step(state);
  const identified = step<State>({ ...state, vmName }, note('info', 'identified', { vmName }));
  const { undecided } = state;
  return undecided === undefined
    ? identified
    : andThen(identified, (value) => applyDocument(context, value, aged(undecided, context.now.at)));
}

function applyRestart(context: Context, state: State): Step<State> {
  const watched = state.watched.map((one): Watched => ({
    ...one,
    absences: 0,
    ack: one.ack.kind === 'sending' ? { kind: 'in-doubt', attempt: one.ack.attempt } : one.ack,
  }));
  const peers = restartPeers(state.peers);
  const restarted: State = { ...state, watched, peers, stopping: false, undecided: undefined };
  const checkpoints = checkpointsFor(watched);
  if (state.drain === undefined) return step(restarted, ...checkpoints);
  const drain = newestPolicySets(context.policy, restartDrain(state.drain));
  return step(
    { ...restarted, drain },
    note('warn', 'drain-resumed', {
      eventId: drain.event.id,
      phase: drain.phase,
      leftMs: Math.round(drain.deadlineAt - context.now.at),
    }),
    ...stageSets(context, drain),
    ...checkpoints,
  );
}

function applyReboot(context: Context, state: State): Step<State> {
  // Monotonic times of the earlier boot mean nothing now, and instance names can be reused.
  const watched = state.watched.map((one): Watched => ({
    ...one,
    deadlineAt: undefined,
    absences: 0,
    survived: true,
    checkpoint: 'ended',
    ack: ackIsFinal(one) ? one.ack : { kind: 'withheld', reason: 'too-late' },
  }));
  const rebooted = andThen(rebootPeers(state.peers), (peers) =>
    step<State>({ ...state, vmName: undefined, watched, peers, stopping: false, undecided: undefined }),
  );
  if (state.drain === undefined) return rebooted;
  const drain = restartDrain(state.drain);
  const closed = note('warn', 'drain-closed-by-reboot', { eventId: drain.event.id, phase: drain.phase });
  return andThen(
    andThen(rebooted, (value) => step(value, closed)),
    (value) =>
      andThen(drain.phase === 'resuming' ? step(drain) : resumeFrom(context, drain, 'rebooted'), (resuming) =>
        step({ ...value, drain: resuming }),
      ),
  );
}

/** A document that waited for the own name: the server's time has gone on meanwhile. */
function aged({ document, at }: NonNullable<State['undecided']>, now: MonotonicMs): EventDocument {
  const { serverNow } = document;
  return { ...document, serverNow: serverNow === undefined ? undefined : serverNow + (now - at) };
}

/**
 * When the state, decided on at `decidedAt`, wants a `tick` at the latest; it may have passed meanwhile.
 * Undefined: only news can change anything.
 */
export function wakeAt(policy: Policy, state: State, decidedAt: MonotonicMs): MonotonicMs | undefined {
  const context: Context = { policy, now: { at: decidedAt, wallAt: 0, upload: undefined } };
  const times = [
    ...ackWakeTimes(state),
    ...peerWakeTimes(state),
    ...(state.drain === undefined ? [] : drainWakeTimes(context, state.drain)),
  ].filter((at) => at > decidedAt);
  return times.length === 0 ? undefined : Math.min(...times);
}
