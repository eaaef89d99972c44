import type { ScheduledEvent } from './event.ts';

export const STAGES = ['before-checkpoint', 'after-checkpoint', 'on-resume'] as const;
export type Stage = (typeof STAGES)[number];

/** What a hook is told that it runs for: a stage of this VM's drain, or the eviction of another VM. */
export type Occasion = Stage | 'peer-notice';

export const ACK_POLICIES = ['after-success', 'always', 'user-initiated', 'never'] as const;
export type AckPolicy = (typeof ACK_POLICIES)[number];

/** What an event type means here. */
export interface EventPolicy {
  readonly drain: boolean;
  readonly ack: AckPolicy;
  /** Take a checkpoint when it is announced, without a drain. */
  readonly checkpoint: boolean;
}

/** What the core needs to know of a hook; how it is run is the runner's business. */
export interface HookPolicy {
  readonly name: string;
  /** Event types; undefined: every type that drains. */
  readonly on: readonly string[] | undefined;
  readonly stage: Stage;
  /** Same order runs in parallel; lower first. */
  readonly order: number;
  readonly timeoutMs: number;
  /** Its failure means: no ack. */
  readonly required: boolean;
  /** Of somebody who may take part, but decides nothing: it has the time that the others don't need. */
  readonly isGuest?: boolean | undefined;
}

export interface SetPolicy {
  readonly name: string;
  /** Lower is committed first. */
  readonly priority: number;
}

export interface Policy {
  /** Set only when the config names the VM; otherwise the name comes from the instance document. */
  readonly vmName: string | undefined;
  readonly window: {
    /** The most that is ever counted on for a Preempt. */
    readonly noticeMs: number;
    /** Used when NotBefore can't be, or when the event has started. */
    readonly urgentMs: number;
    /** Kept at the end for the report and the ack. */
    readonly reserveMs: number;
  };
  readonly events: Readonly<Record<string, EventPolicy>>;
  /** May an event that also names other VMs be acknowledged? */
  readonly ackShared: boolean;
  readonly hooks: readonly HookPolicy[];
  /** For events of other VMs: never part of a drain; neither stage nor required counts. */
  readonly peerHooks: readonly HookPolicy[];
  readonly sets: readonly SetPolicy[];
}

/** Undefined for a type this daemon doesn't know: logged once, otherwise ignored. */
export function eventPolicy(policy: Policy, type: string): EventPolicy | undefined {
  return Object.hasOwn(policy.events, type) ? policy.events[type] : undefined;
}

export function hookApplies(policy: Policy, hook: HookPolicy, event: ScheduledEvent): boolean {
  return hook.on === undefined
    ? eventPolicy(policy, event.type)?.drain === true
    : hook.on.includes(event.type);
}
