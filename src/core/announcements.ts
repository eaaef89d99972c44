import { resolveDoubt } from './ack.ts';
import { windowMs } from './budget.ts';
import { isBoundBy, isPast, mergeEvent, startDrain, tightenDrain, withdrawDrain } from './drain.ts';
import type { Effect } from './effect.ts';
import { type EventDocument, type ScheduledEvent, concerns, eventKey, isShared } from './event.ts';
import { ABSENCES_MEAN_GONE, absenceCounter, describe } from './event-facts.ts';
import { applyPeerAbsences, applyPeerEvent } from './peers.ts';
import { eventPolicy, hookApplies } from './policy.ts';
import type { Drain, State, Watched } from './state.ts';
import { type Context, type Step, andThen, note, step } from './step.ts';

/** A VM has a handful of events at most; more is noise. */
const WATCHED_MAX = 64;
const MENTIONED_MAX = 256;
/** `Date` has whole seconds, so a window jitters by that much between polls. */
const TIGHTENED_NOTE_MS = 1500;

/** Compares a document with what is watched: new events, changed ones, gone ones. */
export function applyDocument(context: Context, state: State, document: EventDocument): Step<State> {
  const { vmName } = state;
  if (vmName === undefined) return keepUndecided(context, state, document);
  let current = step<State>({ ...state, undecided: undefined });
  for (const event of document.events) {
    current = andThen(current, (value) =>
      concerns(event, vmName)
        ? applyOwnEvent(context, value, event, document)
        : applyOtherEvent(context, value, event),
    );
  }
  return andThen(
    andThen(current, (value) => applyAbsences(context, value, document)),
    (value) => applyPeerAbsences(value, document),
  );
}

function applyOtherEvent(context: Context, state: State, event: ScheduledEvent): Step<State> {
  const { policy } = context;
  const isForHooks = policy.peerHooks.some((hook) => hookApplies(policy, hook, event));
  const mentioned = andThen(mentionUnknownType(context, state, event), (value) =>
    isForHooks
      ? step(value)
      : mention(value, `other ${eventKey(event.id)}`, () => note('info', 'event-of-other', describe(event))),
  );
  return andThen(mentioned, (value) => applyPeerEvent(context, value, event));
}

function keepUndecided(context: Context, state: State, document: EventDocument): Step<State> {
  const kept: State = { ...state, undecided: { document, at: context.now.at } };
  const drains = document.events.find((event) => eventPolicy(context.policy, event.type)?.drain === true);
  if (drains === undefined) return step(kept);
  // Whose event it is can't be told yet; acting on another VM's would be wrong, saying nothing as well.
  return mention(kept, `unowned ${eventKey(drains.id)}`, () =>
    note('warn', 'event-of-unknown-owner', describe(drains)),
  );
}

function mentionUnknownType(context: Context, state: State, event: ScheduledEvent): Step<State> {
  if (eventPolicy(context.policy, event.type) !== undefined) return step(state);
  return mention(state, `type ${event.type}`, () => note('warn', 'event-ignored-type', describe(event)));
}

/** Notes something once in the life of the state. */
function mention(state: State, key: string, effect: () => Effect): Step<State> {
  if (state.mentioned.includes(key)) return step(state);
  return step({ ...state, mentioned: [...state.mentioned, key].slice(-MENTIONED_MAX) }, effect());
}

function applyOwnEvent(
  context: Context,
  state: State,
  event: ScheduledEvent,
  document: EventDocument,
): Step<State> {
  const policy = eventPolicy(context.policy, event.type);
  if (policy === undefined) return mentionUnknownType(context, state, event);
  const known = state.watched.find((watched) => eventKey(watched.event.id) === eventKey(event.id));
  if (known?.survived === true && event.status === 'Scheduled') {
    // The reboot was not this event's: it is still to come.
    const watched = state.watched.filter((one) => one !== known);
    return applyOwnEvent(context, { ...state, watched }, event, document);
  }
  if (known !== undefined) return applyKnownEvent(context, state, known, event, document);
  if (state.watched.length >= WATCHED_MAX) {
    return mention(state, 'overflow', () => note('error', 'event-overflow', { watched: WATCHED_MAX }));
  }
  const { at } = context.now;
  const deadlineAt = policy.drain ? at + windowMs(context.policy, event, document.serverNow) : undefined;
  const watched: Watched = {
    event,
    firstSeenAt: at,
    deadlineAt,
    absences: 0,
    survived: false,
    checkpoint: policy.checkpoint && !policy.drain ? 'taking' : 'none',
    ack: { kind: 'open' },
  };
  const noticed = step<State>(
    { ...state, watched: [...state.watched, watched] },
    note(policy.drain ? 'warn' : 'info', 'event-noticed', {
      ...describe(event),
      drains: policy.drain,
      shared: isShared(event, state.vmName ?? ''),
      ...(deadlineAt === undefined ? {} : { windowMs: Math.round(deadlineAt - at) }),
    }),
  );
  if (deadlineAt !== undefined)
    return andThen(noticed, (value) => drainFor(context, value, event, deadlineAt));
  return andThen(noticed, (value) => step(value, ...checkpointsFor([watched])));
}

/** For events that ask for a checkpoint without a drain; also after a restart in the middle of it. */
export function checkpointsFor(watched: readonly Watched[]): Effect[] {
  return watched
    .filter(({ checkpoint }) => checkpoint === 'taking')
    .map(({ event }) => ({
      kind: 'take-checkpoint',
      eventId: event.id,
      reason: event.type === 'SpotRebalanceRecommendation' ? 'rebalance' : 'notice',
    }));
}

function drainFor(context: Context, state: State, event: ScheduledEvent, ownDeadlineAt: number): Step<State> {
  const { drain } = state;
  const deadlineAt = earliestDeadline(context, state, ownDeadlineAt);
  if (drain === undefined || isPast(context, drain)) {
    const makingWay = step(state, ...(drain === undefined ? [] : [endUploads(context, drain)]));
    return andThen(makingWay, () =>
      andThen(startDrain(context, event, deadlineAt), (started) => step({ ...state, drain: started })),
    );
  }
  if (drain.phase === 'withdrawn' || drain.phase === 'resuming') {
    // What undoes the old drain must not run against the new one.
    const cancelled = step(state, { kind: 'cancel-hooks', drainId: drain.id }, endUploads(context, drain));
    return andThen(cancelled, () =>
      andThen(startDrain(context, event, deadlineAt), (started) => step({ ...state, drain: started })),
    );
  }
  return andThen(mergeEvent(context, drain, event, deadlineAt), (merged) =>
    step({ ...state, drain: merged }, note('warn', 'event-merged', describe(event))),
  );
}

/** What still runs of the earlier drain would hold up the new one; what it has sent is used by that. */
function endUploads({ now }: Context, { id }: Drain): Effect {
  return { kind: 'tighten', drainId: id, hooksEndAt: undefined, uploadsEndAt: now.at };
}

/** Another event, drained for earlier, may end this VM before the new one does. */
function earliestDeadline({ policy, now }: Context, state: State, ownDeadlineAt: number): number {
  const others = state.watched.flatMap(({ deadlineAt }) =>
    deadlineAt !== undefined && isBoundBy(policy, now.at, deadlineAt) ? [deadlineAt] : [],
  );
  return Math.min(ownDeadlineAt, ...others);
}

function applyKnownEvent(
  context: Context,
  state: State,
  known: Watched,
  event: ScheduledEvent,
  document: EventDocument,
): Step<State> {
  const { at } = context.now;
  const window = at + windowMs(context.policy, event, document.serverNow);
  const deadlineAt = known.deadlineAt === undefined ? undefined : Math.min(known.deadlineAt, window);
  const updated = resolveDoubt({ ...known, event, absences: 0, deadlineAt }, at);
  const watched = state.watched.map((one) => (one === known ? updated : one));
  const { drain } = state;
  if (deadlineAt === undefined || known.deadlineAt === undefined || drain === undefined) {
    return step({ ...state, watched });
  }
  if (!isBoundBy(context.policy, drain.startedAt, deadlineAt)) return step({ ...state, watched });
  const worthNoting =
    known.deadlineAt - deadlineAt > TIGHTENED_NOTE_MS || event.status !== known.event.status;
  const noted =
    worthNoting && drain.phase !== 'waiting'
      ? [note('warn', 'event-tightened', { ...describe(event), leftMs: Math.round(deadlineAt - at) })]
      : [];
  return andThen(tightenDrain(context, drain, deadlineAt), (tightened) =>
    step({ ...state, watched, drain: tightened }, ...noted),
  );
}

function applyAbsences(context: Context, state: State, document: EventDocument): Step<State> {
  const absencesOf = absenceCounter(document);
  const counted = state.watched.map((one) => ({ ...one, absences: absencesOf(one) }));
  const gone = counted.filter((one) => one.absences >= ABSENCES_MEAN_GONE);
  const watched = counted.filter((one) => one.absences < ABSENCES_MEAN_GONE);
  const next = step<State>(
    { ...state, watched },
    ...gone.map((one) =>
      note(one.deadlineAt === undefined ? 'info' : 'warn', 'event-gone', {
        ...describe(one.event),
        ack: one.ack.kind,
      }),
    ),
  );
  const stillDrains = watched.some((one) => one.deadlineAt !== undefined);
  const drainGone = gone.some((one) => one.deadlineAt !== undefined) && !stillDrains;
  return andThen(next, (value) => {
    if (!drainGone || value.drain === undefined) return step(value);
    return andThen(withdrawDrain(context, value.drain), (drain) => step({ ...value, drain }));
  });
}
