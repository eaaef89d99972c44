import type { MonotonicMs } from '../base/clock.ts';
import type { ScheduledEvent } from './event.ts';
import type { Occasion } from './policy.ts';

/** How a hook ended. A result, never an exception: a hook that fails is ordinary. */
export type HookResult =
  | { readonly kind: 'succeeded'; readonly durationMs: number }
  | {
      readonly kind: 'failed';
      /**
       * First cause: a hook killed at its timeout is `timeout`, whatever signal it died of. `gone`: the client that
       * registered it is no longer there.
       */
      readonly reason: 'exit' | 'signal' | 'timeout' | 'refused' | 'spawn' | 'cancelled' | 'gone';
      /** For people: names the file, the code or the rule that was broken, and the remedy. */
      readonly detail: string;
      readonly durationMs: number;
    };

export interface HookRequest {
  readonly name: string;
  /** Of a drain, or of a notice to another VM. Together with the name unique in a boot: an event can be withdrawn and announced again with the same id. */
  readonly drainId: string;
  readonly event: ScheduledEvent;
  readonly stage: Occasion;
  /** 1 at first; more only when a crash left the result of an earlier attempt unknown. */
  readonly attempt: number;
  /** The hook's own limit, already cut to the budget. */
  readonly timeoutMs: number;
  /** Milliseconds to the end of the window; undefined where there is none (`on-resume`, `peer-notice`). */
  readonly windowLeftMs: number | undefined;
  /** For `after-checkpoint` hooks: are all sets committed by now? */
  readonly checkpoint: 'committed' | 'failed' | undefined;
  readonly drill: boolean;
}

/** Code of an abort's reason: nobody waits for the result any more, and what can go on without the daemon may. */
export const DAEMON_ENDS = 'daemon-ends';

/** Runs hooks; every hook it starts is over, with all of its process group, when `run` settles. */
export interface HookRunner {
  /**
   * Never rejects. Aborting the signal ends the hook like its timeout does (TERM, then KILL). With `DAEMON_ENDS` as
   * its reason a hook that outlives the daemon is left alone.
   */
  run(request: HookRequest, signal: AbortSignal): Promise<HookResult>;
}

export type CheckpointReason = 'notice' | 'command' | 'schedule' | 'rebalance' | 'shutdown';

export interface CommitRequest {
  readonly set: string;
  readonly reason: CheckpointReason;
  /** Also after a conflict: goes on from what the other writer left, as a restart would. */
  readonly takeOver?: boolean;
  /** Of somebody whose checkpoints push out none but their own. */
  readonly isGuest?: boolean;
  /** Monotonic. Nobody waits for it any longer: where all doesn't fit, a set may have what does. */
  readonly endsAt?: MonotonicMs;
}

export type CommitResult =
  | {
      readonly kind: 'committed';
      /** The checkpoint's id, as `restore --at` takes it. */
      readonly id: string;
      readonly files: number;
      /** Size of all files in the checkpoint. */
      readonly bytes: number;
      /** What had to be sent for it, staging included. */
      readonly bytesSent: number;
      readonly durationMs: number;
    }
  | {
      readonly kind: 'failed';
      /** An `EvictdError` code. */
      readonly code: string;
      readonly detail: string;
      /** False when trying again can't help, e.g. another VM writes the same key. */
      readonly retryable: boolean;
      /** Of a checkpoint that was made all the same, with an earlier version of the files that `detail` names, or none. */
      readonly id?: string;
    };

/** What is left to move, for the budget. */
export interface UploadEstimate {
  /** Undefined until the files of all sets were looked at. */
  readonly bytesLeft: number | undefined;
  /** Measured; undefined until something was sent. */
  readonly bytesPerSecond: number | undefined;
}

export interface SetProgress {
  readonly name: string;
  /** Its files have been looked at since the start. Before that the three numbers that follow say nothing. */
  readonly scanned: boolean;
  readonly files: number;
  readonly bytes: number;
  /** Of `bytes`, already in the store (committed or staged). */
  readonly bytesStored: number;
  readonly bytesSent: number;
  /** When the newest checkpoint that is known to be in the store was made, by whichever process, epoch ms. */
  readonly committedAt: number | undefined;
  readonly checkpointId: string | undefined;
}

export interface CheckpointPort {
  /** Scans the set and sends what the store lacks; commits nothing. Rejects with an EvictdError. */
  stage(set: string, signal: AbortSignal): Promise<void>;
  /** Makes a checkpoint, or says why there is none. Never rejects. At the abort it stops sending at once. */
  commit(request: CommitRequest, signal: AbortSignal): Promise<CommitResult>;
  estimate(): UploadEstimate;
  progress(): readonly SetProgress[];
}

export type AckResult =
  | { readonly kind: 'accepted' }
  /** IMDS understood and said no (400): asking again can't help. */
  | { readonly kind: 'refused'; readonly detail: string }
  | { readonly kind: 'failed'; readonly detail: string };
