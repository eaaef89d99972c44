import type { MonotonicMs, WallMs } from '../base/clock.ts';
import type { EventDocument } from './event.ts';
import type { Stage } from './policy.ts';
import type { AckResult, CheckpointReason, CommitResult, HookResult, UploadEstimate } from './ports.ts';
import type { Drain, State } from './state.ts';

/** Carried by every input, so that the core needs no clock. */
export interface Moment {
  readonly at: MonotonicMs;
  /** Guest wall clock, for reports only; no decision looks at it. */
  readonly wallAt: WallMs;
  readonly upload: UploadEstimate | undefined;
}

/** What can happen. */
export type Input = Moment &
  (
    | { readonly kind: 'identified'; readonly vmName: string }
    | { readonly kind: 'document'; readonly document: EventDocument }
    /** Never news about events; here so that the table of transitions says so. */
    | { readonly kind: 'poll-failed' }
    | { readonly kind: 'tick' }
    /** First input after a restart in the same boot. */
    | { readonly kind: 'restarted' }
    /** First input after a reboot: the journal is of an earlier boot. */
    | { readonly kind: 'rebooted' }
    | {
        readonly kind: 'hook-ended';
        readonly drainId: string;
        readonly name: string;
        readonly attempt: number;
        readonly result: HookResult;
      }
    | {
        readonly kind: 'set-ended';
        readonly drainId: string;
        readonly set: string;
        readonly attempt: number;
        readonly result: CommitResult;
      }
    | {
        readonly kind: 'peer-hook-ended';
        readonly noticeId: string;
        readonly name: string;
        readonly attempt: number;
        readonly result: HookResult;
      }
    /** A program has registered a hook: it is in the policy from now on. */
    | { readonly kind: 'hook-registered'; readonly name: string }
    | { readonly kind: 'report-ended'; readonly drainId: string }
    | {
        readonly kind: 'ack-ended';
        readonly eventId: string;
        readonly attempt: number;
        readonly result: AckResult;
      }
    | { readonly kind: 'checkpoint-ended'; readonly eventId: string }
    | { readonly kind: 'stop-requested' }
  );

/** What is to be done. Each may be performed twice: a crash leaves open whether it was. */
export type Effect =
  | {
      readonly kind: 'run-hook';
      readonly drainId: string;
      readonly name: string;
      readonly stage: Stage;
      readonly attempt: number;
      readonly timeoutMs: number;
      /** End of the window; undefined for `on-resume`. */
      readonly deadlineAt: MonotonicMs | undefined;
      /** For `after-checkpoint` hooks: are all sets committed? Undefined otherwise, and without sets. */
      readonly checkpoint: 'committed' | 'failed' | undefined;
    }
  /** A hook for other VMs' events. */
  | {
      readonly kind: 'run-peer-hook';
      readonly noticeId: string;
      readonly name: string;
      readonly attempt: number;
      readonly timeoutMs: number;
    }
  | { readonly kind: 'cancel-hooks'; readonly drainId: string }
  /** Hooks and uploads that run were given more time than there is now. */
  | {
      readonly kind: 'tighten';
      readonly drainId: string;
      /** Undefined: the hooks end early enough as it is. */
      readonly hooksEndAt: MonotonicMs | undefined;
      readonly uploadsEndAt: MonotonicMs;
    }
  /** Send what can be sent while the hooks still run. */
  | {
      readonly kind: 'stage-sets';
      readonly drainId: string;
      readonly sets: readonly string[];
      readonly endsAt: MonotonicMs;
    }
  | {
      readonly kind: 'commit-set';
      readonly drainId: string;
      readonly set: string;
      readonly attempt: number;
      readonly endsAt: MonotonicMs;
    }
  /** A checkpoint without a drain (rebalance recommendation). */
  | { readonly kind: 'take-checkpoint'; readonly eventId: string; readonly reason: CheckpointReason }
  /** With the drain as it was: it may be over for the state by the time the report is written. */
  | { readonly kind: 'write-report'; readonly drain: Drain; readonly endsAt: MonotonicMs }
  | {
      readonly kind: 'acknowledge';
      readonly eventId: string;
      readonly attempt: number;
      readonly endsAt: MonotonicMs;
    }
  /** For the log, status line, metrics: `code` is a closed set and constant, the rest are fields. */
  | {
      readonly kind: 'note';
      readonly level: 'info' | 'warn' | 'error';
      readonly code: NoteCode;
      readonly fields: Readonly<Record<string, unknown>>;
    }
  | { readonly kind: 'exit' };

export type NoteCode =
  | 'identified'
  | 'event-noticed'
  | 'event-merged'
  | 'event-ignored-type'
  | 'event-overflow'
  | 'event-of-unknown-owner'
  | 'event-tightened'
  | 'event-gone'
  | 'event-of-other'
  | 'peer-noticed'
  | 'phase'
  | 'hook-ended'
  | 'hook-skipped'
  | 'set-ended'
  | 'ack-withheld'
  | 'ack-ended'
  | 'drain-ended'
  | 'drain-resumed'
  | 'drain-closed-by-reboot'
  | 'watching-again';

export interface Decision {
  readonly state: State;
  readonly effects: readonly Effect[];
}
