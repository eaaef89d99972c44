import { unreachable } from '../base/assert.ts';
import type { MonotonicMs } from '../base/clock.ts';
import { backoffMs } from './backoff.ts';
import type { Effect } from './effect.ts';
import { isShared } from './event.ts';
import { eventPolicy } from './policy.ts';
import type { AckResult } from './ports.ts';
import type { Ack, State, Watched, WithheldReason } from './state.ts';
import { type Context, type Step, note, step } from './step.ts';

const RETRY_FIRST_MS = 200;
const RETRY_CAP_MS = 2000;
/** Events that don't drain have minutes, and IMDS may be updating for 70 s: asked again until they start or are gone. */
const RETRY_CAP_WITHOUT_WINDOW_MS = 10_000;
/** One try; IMDS answers within its own 10 s, usually at once. */
const TRY_MS = 3000;

/** What the work for an event came to: `none` for events that don't drain. */
export type Work = 'none' | 'unfinished' | 'success' | 'failure';

/**
 * Decides and drives the acknowledgement of every watched event.
 * An ack approves the event for all its resources and may bring the eviction forward, so it is the last thing done,
 * only for own events, and only where the policy wants it.
 * Source: learn.microsoft.com/azure/virtual-machines/linux/scheduled-events ("Start an event").
 */
export function advanceAcks(context: Context, state: State, workOf: (watched: Watched) => Work): Step<State> {
  const effects: Effect[] = [];
  const watched = state.watched.map((one) => {
    const ack = nextAck(context, state, one, workOf(one), effects);
    return ack === one.ack ? one : { ...one, ack };
  });
  return step(
    watched.some((one, index) => one !== state.watched[index]) ? { ...state, watched } : state,
    ...effects,
  );
}

function nextAck(context: Context, state: State, watched: Watched, work: Work, effects: Effect[]): Ack {
  const { ack, event } = watched;
  const { at } = context.now;
  switch (ack.kind) {
    case 'open': {
      if (work === 'unfinished') return ack;
      const reason = whyWithheld(context, state, watched, work);
      if (reason !== undefined) return withhold(event.id, event.type, reason, effects);
      return send(context, watched, 1, effects);
    }
    case 'retrying': {
      // A further event may have made work of the drain again since the first try.
      if (work === 'unfinished' || at < ack.retryAt) return ack;
      const reason = whyWithheld(context, state, watched, work);
      if (reason !== undefined) return withhold(event.id, event.type, reason, effects);
      return send(context, watched, ack.attempt + 1, effects);
    }
    case 'sending':
      // The sender is bounded; should its answer never come, the try counts as failed.
      return at >= ack.endsAt + TRY_MS ? retry(watched, ack.attempt, at) : ack;
    case 'in-doubt':
    case 'accepted':
    case 'refused':
    case 'withheld':
      return ack;
    default:
      return unreachable(ack);
  }
}

function whyWithheld(
  context: Context,
  state: State,
  watched: Watched,
  work: Work,
): WithheldReason | undefined {
  const { event } = watched;
  const policy = eventPolicy(context.policy, event.type)?.ack ?? 'never';
  if (policy === 'never') return 'policy';
  if (state.vmName === undefined) return 'shared';
  if (isShared(event, state.vmName) && !context.policy.ackShared) return 'shared';
  if (policy === 'user-initiated' && event.source !== 'User') return 'not-user-initiated';
  if (policy !== 'always' && work === 'failure') return 'unsuccessful';
  // It can't be approved any more: it runs.
  if (event.status === 'Started') return 'started';
  return context.now.at >= lastTryAt(watched) ? 'too-late' : undefined;
}

function withhold(eventId: string, type: string, reason: WithheldReason, effects: Effect[]): Ack {
  const level = reason === 'unsuccessful' || reason === 'too-late' ? 'error' : 'info';
  effects.push(note(level, 'ack-withheld', { eventId, type, reason }));
  return { kind: 'withheld', reason };
}

function send(context: Context, watched: Watched, attempt: number, effects: Effect[]): Ack {
  const endsAt = Math.min(context.now.at + TRY_MS, lastTryAt(watched));
  effects.push({ kind: 'acknowledge', eventId: watched.event.id, attempt, endsAt });
  return { kind: 'sending', attempt, endsAt };
}

function retry(watched: Watched, attempt: number, at: MonotonicMs): Ack {
  const capMs = watched.deadlineAt === undefined ? RETRY_CAP_WITHOUT_WINDOW_MS : RETRY_CAP_MS;
  return { kind: 'retrying', attempt, retryAt: at + backoffMs(attempt, RETRY_FIRST_MS, capMs) };
}

function lastTryAt(watched: Watched): MonotonicMs {
  return watched.deadlineAt ?? Infinity;
}

/** Records what IMDS said; an answer to another attempt changes nothing. */
export function applyAckResult(
  context: Context,
  state: State,
  eventId: string,
  attempt: number,
  result: AckResult,
): Step<State> {
  const effects: Effect[] = [];
  const watched = state.watched.map((one): Watched => {
    if (one.event.id !== eventId || one.ack.kind !== 'sending' || one.ack.attempt !== attempt) return one;
    const level = result.kind === 'accepted' ? 'info' : result.kind === 'refused' ? 'error' : 'warn';
    effects.push(note(level, 'ack-ended', { eventId, attempt, result: result.kind, ...detailOf(result) }));
    return { ...one, ack: result.kind === 'failed' ? retry(one, attempt, context.now.at) : result };
  });
  return step(effects.length === 0 ? state : { ...state, watched }, ...effects);
}

function detailOf(result: AckResult): { detail?: string } {
  return result.kind === 'accepted' ? {} : { detail: result.detail };
}

/**
 * An ack was in flight when the daemon died. IMDS answers 200 to a second one, but the event itself says what came of
 * the first: started means accepted, still scheduled means send it again.
 */
export function resolveDoubt(watched: Watched, at: MonotonicMs): Watched {
  if (watched.ack.kind !== 'in-doubt') return watched;
  const ack: Ack =
    watched.event.status === 'Started'
      ? { kind: 'accepted' }
      : { kind: 'retrying', attempt: watched.ack.attempt, retryAt: at };
  return { ...watched, ack };
}

/** Nothing more will come of this ack. */
export function ackIsFinal(watched: Watched): boolean {
  return watched.ack.kind === 'accepted' || watched.ack.kind === 'refused' || watched.ack.kind === 'withheld';
}

/** When the acks want to be looked at again. */
export function ackWakeTimes(state: State): MonotonicMs[] {
  return state.watched.flatMap(({ ack }) => {
    if (ack.kind === 'retrying') return [ack.retryAt];
    return ack.kind === 'sending' ? [ack.endsAt + TRY_MS] : [];
  });
}
