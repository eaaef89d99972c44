import type { MonotonicMs, WallMs } from '../base/clock.ts';
import type { EventDocument, ScheduledEvent } from './event.ts';
import type { Stage } from './policy.ts';
import type { HookResult } from './ports.ts';

/**
 * Everything the daemon has to remember. Plain JSON, so that the journal is this and nothing else.
 * Monotonic times count from boot and stay valid in the next process of the same boot.
 */
export interface State {
  readonly vmName: string | undefined;
  /** Own events that are (or were, one document ago) announced. */
  readonly watched: readonly Watched[];
  readonly drain: Drain | undefined;
  /** Draining events of other VMs that are (or were, one document ago) announced. Bounded. */
  readonly peers: readonly PeerNotice[];
  /** Types and ids already mentioned in the log, so that each is mentioned once. Bounded. */
  readonly mentioned: readonly string[];
  /** The newest document while the own name is still unknown: decided on when the name arrives. */
  readonly undecided: { readonly document: EventDocument; readonly at: MonotonicMs } | undefined;
  /** True after SIGTERM: ends after the drain, or at once without one. */
  readonly stopping: boolean;
}

export interface Watched {
  readonly event: ScheduledEvent;
  readonly firstSeenAt: MonotonicMs;
  /** End of the window; undefined for events that don't drain. */
  readonly deadlineAt: MonotonicMs | undefined;
  /** Consecutive good documents without it; two mean gone. */
  readonly absences: number;
  /** Drained for in an earlier boot: of no concern any more, unless it turns out to be still ahead. */
  readonly survived: boolean;
  /** Of an event that asks for a checkpoint without a drain. */
  readonly checkpoint: 'none' | 'taking' | 'ended';
  readonly ack: Ack;
}

/** Where the acknowledgement of one event stands. */
export type Ack =
  | { readonly kind: 'open' }
  | { readonly kind: 'sending'; readonly attempt: number; readonly endsAt: MonotonicMs }
  /** Was in flight when the daemon ended: the next document tells whether it took effect. */
  | { readonly kind: 'in-doubt'; readonly attempt: number }
  | { readonly kind: 'retrying'; readonly attempt: number; readonly retryAt: MonotonicMs }
  | { readonly kind: 'accepted' }
  | { readonly kind: 'refused'; readonly detail: string }
  /** Decided not to. */
  | { readonly kind: 'withheld'; readonly reason: WithheldReason };

export type WithheldReason =
  | 'policy'
  | 'shared'
  | 'not-user-initiated'
  | 'started'
  | 'unsuccessful'
  | 'too-late';

export const DRAIN_PHASES = [
  'before-checkpoint',
  'checkpoint',
  'after-checkpoint',
  'report',
  'ack',
  'waiting',
  'withdrawn',
  'resuming',
] as const;

/**
 * `waiting`: for the end, or for the event to be withdrawn; meanwhile sets that failed are committed late.
 * `withdrawn`: the event is gone; what runs is let finish.
 * `resuming`: `on-resume` hooks.
 */
export type DrainPhase = (typeof DRAIN_PHASES)[number];

export type DrainOutcome = 'success' | 'failure' | 'withdrawn' | 'rebooted';

export interface Drain {
  /** Unique in a boot, also when the same event is withdrawn and announced again. */
  readonly id: string;
  /** The event that started it. */
  readonly event: ScheduledEvent;
  readonly startedAt: MonotonicMs;
  /** Guest wall clock, for reports only. */
  readonly startedWall: WallMs;
  /** End of the window: the earliest of its events'. */
  readonly deadlineAt: MonotonicMs;
  readonly phase: DrainPhase;
  readonly hooks: readonly HookRun[];
  readonly sets: readonly SetRun[];
  readonly report: ReportState;
  readonly outcome: DrainOutcome | undefined;
  /** When each phase began. */
  readonly timeline: readonly { readonly phase: DrainPhase; readonly at: MonotonicMs }[];
}

export type ReportState =
  | { readonly kind: 'pending' }
  | { readonly kind: 'writing'; readonly endsAt: MonotonicMs }
  | { readonly kind: 'done' };

export interface HookRun {
  readonly name: string;
  readonly stage: Stage;
  readonly order: number;
  readonly required: boolean;
  /** See `HookPolicy`. */
  readonly isGuest?: boolean | undefined;
  /** As configured. */
  readonly timeoutMs: number;
  readonly attempt: number;
  readonly run: HookRunState;
}

/** An event that doesn't name this VM, and the hooks that run because of it. */
export interface PeerNotice {
  /** Unique in a boot, also when the same event is withdrawn and announced again. */
  readonly id: string;
  readonly event: ScheduledEvent;
  /** As of own events. */
  readonly absences: number;
  readonly hooks: readonly PeerHookRun[];
}

export type PeerHookRun = Pick<HookRun, 'name' | 'order' | 'timeoutMs' | 'attempt' | 'run'>;

export type HookRunState =
  | { readonly kind: 'pending' }
  | { readonly kind: 'running'; readonly startedAt: MonotonicMs; readonly endsAt: MonotonicMs }
  | { readonly kind: 'ended'; readonly startedAt: MonotonicMs; readonly result: HookResult }
  | { readonly kind: 'skipped'; readonly why: 'no-time' | 'withdrawn' };

export interface SetRun {
  readonly name: string;
  readonly priority: number;
  readonly attempt: number;
  /** Start of the first attempt; undefined before it. */
  readonly firstStartedAt: MonotonicMs | undefined;
  /** The window ended without it, and it was tried again after that (`advanceLateSets`). */
  readonly late: boolean;
  readonly run: SetRunState;
}

export type SetRunState =
  | { readonly kind: 'pending' }
  /** `endsAt`: of a late one, which no window bounds. */
  | { readonly kind: 'committing'; readonly startedAt: MonotonicMs; readonly endsAt: MonotonicMs | undefined }
  | {
      readonly kind: 'retrying';
      readonly retryAt: MonotonicMs;
      readonly code: string;
      readonly detail: string;
    }
  | {
      readonly kind: 'committed';
      readonly at: MonotonicMs;
      readonly id: string;
      readonly files: number;
      readonly bytes: number;
      readonly bytesSent: number;
    }
  | {
      readonly kind: 'failed';
      readonly code: string;
      readonly detail: string;
      /** It may well succeed with more time. */
      readonly retryable: boolean;
    };

export const INITIAL_STATE: State = {
  vmName: undefined,
  watched: [],
  drain: undefined,
  peers: [],
  mentioned: [],
  undecided: undefined,
  stopping: false,
};
