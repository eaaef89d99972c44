import { decide, wakeAt } from '../../src/core/decide.ts';
import type { Effect, Input } from '../../src/core/effect.ts';
import type { ScheduledEvent } from '../../src/core/event.ts';
import type { Policy } from '../../src/core/policy.ts';
import type { AckResult, CommitResult, HookResult } from '../../src/core/ports.ts';
import { INITIAL_STATE, type State } from '../../src/core/state.ts';
import { SELF, SERVER_EPOCH } from './support.ts';

/** An event as it comes and goes; times in ms. */
export interface Announced {
  readonly event: ScheduledEvent;
  readonly from: number;
  readonly until: number;
  readonly startsAt: number;
}

export interface Outcome {
  readonly ok: boolean;
  /** Undefined: no answer ever comes. */
  readonly afterMs: number | undefined;
}

export interface Script {
  readonly policy: Policy;
  readonly announced: readonly Announced[];
  /** Polls, by number, that fail or whose document lacks everything once. */
  readonly failedPolls: ReadonlySet<number>;
  readonly emptyPolls: ReadonlySet<number>;
  readonly restartsAt: readonly number[];
  readonly outcomes: {
    readonly hooks: readonly Outcome[];
    readonly sets: readonly Outcome[];
    readonly acks: readonly Outcome[];
  };
  readonly untilMs: number;
}

export interface Performed {
  readonly at: number;
  readonly effect: Effect;
  readonly state: State;
}

export interface History {
  readonly performed: readonly Performed[];
  /** State after each input, with the time. */
  readonly states: readonly { readonly at: number; readonly state: State }[];
  /** Acks that the service took: event ids in order. */
  readonly accepted: readonly string[];
  readonly restarts: number;
  readonly end: State;
}

interface Pending {
  readonly at: number;
  readonly news: (at: number) => Input;
}

const POLL_MS = 1000;
const STEPS_MAX = 20_000;

/** Plays a script: the world answers the core's effects, polls every second, and restarts the daemon when told. */
export function play(script: Script): History {
  const { policy, outcomes } = script;
  let state: State = { ...INITIAL_STATE, vmName: SELF };
  let pending: Pending[] = [];
  let at = 0;
  let polls = 0;
  const performed: Performed[] = [];
  const states: { at: number; state: State }[] = [];
  const accepted: string[] = [];
  const used = { hooks: 0, sets: 0, acks: 0 };
  const restarts = [...script.restartsAt].sort((a, b) => a - b);
  const moment = (when: number) => ({ at: when, wallAt: 0, upload: undefined });
  const next = (kind: keyof typeof used): Outcome =>
    outcomes[kind][used[kind]++ % Math.max(1, outcomes[kind].length)] ?? { ok: true, afterMs: 1 };
  const later = (outcome: Outcome, news: (when: number) => Input) => {
    if (outcome.afterMs !== undefined) pending.push({ at: at + outcome.afterMs, news });
  };

  function perform(effect: Effect): void {
    performed.push({ at, effect, state });
    if (effect.kind === 'run-hook') {
      const outcome = next('hooks');
      const { drainId, name, attempt, timeoutMs } = effect;
      const late = outcome.afterMs === undefined || outcome.afterMs > timeoutMs;
      const result: HookResult =
        outcome.ok && !late
          ? { kind: 'succeeded', durationMs: 1 }
          : {
              kind: 'failed',
              reason: late ? 'timeout' : 'exit',
              detail: 'as the script says',
              durationMs: 1,
            };
      const bounded = {
        ...outcome,
        afterMs: outcome.afterMs === undefined ? undefined : Math.min(outcome.afterMs, timeoutMs),
      };
      later(bounded, (when) => ({ ...moment(when), kind: 'hook-ended', drainId, name, attempt, result }));
    } else if (effect.kind === 'run-peer-hook') {
      // By the name, so that the outcomes of the own hooks stay the same with and without it.
      const outcome = outcomes.hooks[effect.name.length % Math.max(1, outcomes.hooks.length)];
      const { noticeId, name, attempt } = effect;
      const result: HookResult = { kind: 'succeeded', durationMs: 1 };
      later(outcome ?? { ok: true, afterMs: 1 }, (when) => ({
        ...moment(when),
        kind: 'peer-hook-ended',
        noticeId,
        name,
        attempt,
        result,
      }));
    } else if (effect.kind === 'commit-set') {
      const outcome = next('sets');
      const { drainId, set, attempt } = effect;
      const result: CommitResult = outcome.ok
        ? { kind: 'committed', id: '1', files: 1, bytes: 1, bytesSent: 1, durationMs: 1 }
        : { kind: 'failed', code: 'network', detail: 'as the script says', retryable: true };
      later(outcome, (when) => ({ ...moment(when), kind: 'set-ended', drainId, set, attempt, result }));
    } else if (effect.kind === 'write-report') {
      const drainId = effect.drain.id;
      later({ ok: true, afterMs: 5 }, (when) => ({ ...moment(when), kind: 'report-ended', drainId }));
    } else if (effect.kind === 'take-checkpoint') {
      const { eventId } = effect;
      later({ ok: true, afterMs: 700 }, (when) => ({ ...moment(when), kind: 'checkpoint-ended', eventId }));
    } else if (effect.kind === 'acknowledge') {
      const outcome = next('acks');
      const { eventId, attempt } = effect;
      if (outcome.ok) accepted.push(eventId);
      const result: AckResult = outcome.ok
        ? { kind: 'accepted' }
        : { kind: 'failed', detail: 'as the script says' };
      later(outcome, (when) => ({ ...moment(when), kind: 'ack-ended', eventId, attempt, result }));
    }
  }

  function input(news: Input): void {
    const decision = decide(policy, state, news);
    state = decision.state;
    states.push({ at, state });
    for (const effect of decision.effects) perform(effect);
  }

  function poll(): void {
    const number = polls++;
    if (script.failedPolls.has(number)) {
      input({ ...moment(at), kind: 'poll-failed' });
      return;
    }
    const events = script.emptyPolls.has(number)
      ? []
      : script.announced
          .filter(({ from, until }) => from <= at && at < until)
          .map((one) => asOf(one, at, accepted));
    const serverNow = SERVER_EPOCH + Math.floor(at / 1000) * 1000;
    input({
      ...moment(at),
      kind: 'document',
      document: { incarnation: number, serverNow, events, brokenIds: [], complete: true },
    });
  }

  for (let step = 0; step < STEPS_MAX && at <= script.untilMs; step++) {
    const nextPoll = polls * POLL_MS;
    const wake = wakeAt(policy, state, at);
    const restart = restarts[0] ?? Infinity;
    const soonest = Math.min(nextPoll, wake ?? Infinity, restart, ...pending.map((one) => one.at));
    at = Math.max(at, soonest);
    if (restart <= at) {
      restarts.shift();
      // What ran is forgotten with the process; only what was kept as JSON is known.
      pending = [];
      state = JSON.parse(JSON.stringify(state)) as State; // the journal's round trip
      input({ ...moment(at), kind: 'restarted' });
      continue;
    }
    const due = pending.filter((one) => one.at <= at);
    if (due.length > 0) {
      pending = pending.filter((one) => one.at > at);
      for (const one of due) input(one.news(at));
    } else if (nextPoll <= at) poll();
    else input({ ...moment(at), kind: 'tick' });
  }
  return { performed, states, accepted, restarts: script.restartsAt.length, end: state };
}

function asOf({ event, startsAt }: Announced, at: number, accepted: readonly string[]): ScheduledEvent {
  const started = at >= startsAt || accepted.includes(event.id);
  return started ? { ...event, status: 'Started', notBefore: undefined } : event;
}
