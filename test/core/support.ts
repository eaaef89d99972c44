import { decide } from '../../src/core/decide.ts';
import type { Effect, Input, Moment } from '../../src/core/effect.ts';
import type { EventDocument, ScheduledEvent } from '../../src/core/event.ts';
import type { EventPolicy, HookPolicy, Policy } from '../../src/core/policy.ts';
import { INITIAL_STATE, type State } from '../../src/core/state.ts';

export const SELF = 'fleet_2';
/** Server time of monotonic 0 in these tests; the guest's wall clock is somewhere else on purpose. */
export const SERVER_EPOCH = Date.parse('2026-04-13T10:00:00Z');

const ON_NOTICE: EventPolicy = { drain: true, ack: 'after-success', checkpoint: false };
const ON_USER: EventPolicy = { drain: false, ack: 'user-initiated', checkpoint: false };

export function policyWith(change: Partial<Policy> = {}): Policy {
  return {
    vmName: undefined,
    window: { noticeMs: 30_000, urgentMs: 10_000, reserveMs: 2000 },
    events: {
      Preempt: ON_NOTICE,
      Terminate: ON_NOTICE,
      Reboot: ON_USER,
      Redeploy: ON_USER,
      Freeze: { drain: false, ack: 'never', checkpoint: false },
      SpotRebalanceRecommendation: { drain: false, ack: 'never', checkpoint: true },
    },
    ackShared: false,
    hooks: [hook('stop')],
    peerHooks: [],
    sets: [{ name: 'job', priority: 50 }],
    ...change,
  };
}

export function hook(name: string, change: Partial<HookPolicy> = {}): HookPolicy {
  return {
    name,
    on: undefined,
    stage: 'before-checkpoint',
    order: 50,
    timeoutMs: 10_000,
    required: true,
    ...change,
  };
}

export function event(change: Partial<ScheduledEvent> = {}): ScheduledEvent {
  return {
    id: 'A1',
    type: 'Preempt',
    status: 'Scheduled',
    resources: [SELF],
    notBefore: SERVER_EPOCH + 30_000,
    source: 'Platform',
    description: '',
    durationSeconds: -1,
    ...change,
  };
}

/** Drives `decide` by hand: every call is one input at the time that `at` stands at. */
export class Life {
  state: State;
  at = 0;
  policy: Policy;
  /** Everything that was ever asked for, notes left out. */
  readonly effects: Effect[] = [];

  constructor(policy: Policy = policyWith(), state: State = { ...INITIAL_STATE, vmName: SELF }) {
    this.policy = policy;
    this.state = state;
  }

  moment(): Moment {
    return { at: this.at, wallAt: 12_345_678, upload: undefined };
  }

  input(input: Input): Effect[] {
    const { state, effects } = decide(this.policy, this.state, input);
    this.state = state;
    this.effects.push(...effects.filter(({ kind }) => kind !== 'note'));
    return [...effects];
  }

  document(events: readonly ScheduledEvent[], change: Partial<EventDocument> = {}): Effect[] {
    const document: EventDocument = {
      incarnation: 1,
      serverNow: SERVER_EPOCH + Math.floor(this.at / 1000) * 1000,
      events,
      brokenIds: [],
      complete: true,
      ...change,
    };
    return this.input({ ...this.moment(), kind: 'document', document });
  }

  tick(at: number): Effect[] {
    this.at = at;
    return this.input({ ...this.moment(), kind: 'tick' });
  }

  drainId(): string {
    return this.state.drain?.id ?? 'no drain';
  }

  hookEnds(name: string, ok = true, attempt = 1): Effect[] {
    const result = ok
      ? ({ kind: 'succeeded', durationMs: 1 } as const)
      : ({ kind: 'failed', reason: 'exit', detail: 'exit code 1', durationMs: 1 } as const);
    return this.input({
      ...this.moment(),
      kind: 'hook-ended',
      drainId: this.drainId(),
      name,
      attempt,
      result,
    });
  }

  setEnds(set: string, ok = true, attempt = 1, retryable = true): Effect[] {
    const result = ok
      ? ({ kind: 'committed', id: '00000001', files: 1, bytes: 1, bytesSent: 1, durationMs: 1 } as const)
      : ({ kind: 'failed', code: 'network', detail: 'reset', retryable } as const);
    return this.input({ ...this.moment(), kind: 'set-ended', drainId: this.drainId(), set, attempt, result });
  }

  reportEnds(): Effect[] {
    return this.input({ ...this.moment(), kind: 'report-ended', drainId: this.drainId() });
  }

  ackEnds(kind: 'accepted' | 'failed' | 'refused' = 'accepted', eventId = 'A1', attempt = 1): Effect[] {
    const result = kind === 'accepted' ? { kind } : { kind, detail: 'because' };
    return this.input({ ...this.moment(), kind: 'ack-ended', eventId, attempt, result });
  }

  /** The kinds of the effects asked for so far, with the name of what they are about. */
  log(): string[] {
    return this.effects.map(describeEffect);
  }
}

/** A life that has just seen a Preempt for this VM. */
export function noticed(policy = policyWith()): Life {
  const life = new Life(policy);
  life.document([event()]);
  return life;
}

export function describeEffect(effect: Effect): string {
  switch (effect.kind) {
    case 'run-hook':
      return `run-hook ${effect.name}#${effect.attempt}`;
    case 'run-peer-hook':
      return `run-peer-hook ${effect.name}#${effect.attempt}`;
    case 'commit-set':
      return `commit-set ${effect.set}#${effect.attempt}`;
    case 'acknowledge':
      return `acknowledge ${effect.eventId}#${effect.attempt}`;
    case 'stage-sets':
      return `stage-sets ${effect.sets.join(',')}`;
    default:
      return effect.kind;
  }
}
