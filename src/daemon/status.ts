import type { MonotonicMs } from '../base/clock.ts';
import type { SetProgress, UploadEstimate } from '../core/ports.ts';
import type { State } from '../core/state.ts';

/** What `evictd status --json` and `GET /v1/status` answer. A stable contract; times are in ms. */
export interface Status {
  readonly version: 1;
  readonly evictdVersion: string;
  readonly pid: number;
  readonly dryRun: boolean;
  readonly vmName: string | undefined;
  /** `identifying`, `watching`, or the phase of the drain. */
  readonly phase: string;
  readonly poll: {
    readonly lastGoodAgoMs: number | undefined;
    readonly consecutiveFailures: number;
    readonly lastError: string | undefined;
  };
  readonly events: readonly {
    readonly id: string;
    readonly type: string;
    readonly status: string;
    readonly leftMs: number | undefined;
    readonly ack: string;
  }[];
  readonly drain:
    | {
        readonly eventId: string;
        /** Undefined once the event is gone and the drain is being undone. */
        readonly leftMs: number | undefined;
        readonly outcome: string | undefined;
        readonly hooks: readonly {
          readonly name: string;
          readonly stage: string;
          readonly state: string;
          readonly attempt: number;
        }[];
        readonly sets: readonly { readonly name: string; readonly state: string; readonly attempt: number }[];
      }
    | undefined;
  readonly sets: readonly (SetProgress & { readonly committedAgoMs: number | undefined })[];
  /** What a notice now would have to move. */
  readonly upload: { readonly bytesLeft: number; readonly bytesPerSecond: number | undefined };
  readonly store: { readonly ready: boolean; readonly error: string | undefined } | undefined;
}

export interface StatusSources {
  readonly now: MonotonicMs;
  readonly wallNow: number;
  readonly state: State;
  readonly evictdVersion: string;
  readonly dryRun: boolean;
  readonly poll: { readonly lastGoodAt: MonotonicMs | undefined; readonly consecutiveFailures: number };
  readonly lastError: string | undefined;
  readonly progress: readonly SetProgress[];
  readonly upload: UploadEstimate | undefined;
  readonly store: { readonly ready: boolean; readonly error: string | undefined } | undefined;
}

export function statusOf(sources: StatusSources): Status {
  const { now, state, poll } = sources;
  const { drain } = state;
  return {
    version: 1,
    evictdVersion: sources.evictdVersion,
    pid: process.pid,
    dryRun: sources.dryRun,
    vmName: state.vmName,
    phase: drain?.phase ?? (state.vmName === undefined ? 'identifying' : 'watching'),
    poll: {
      lastGoodAgoMs: poll.lastGoodAt === undefined ? undefined : Math.round(now - poll.lastGoodAt),
      consecutiveFailures: poll.consecutiveFailures,
      lastError: sources.lastError,
    },
    events: state.watched.map(({ event, deadlineAt, ack }) => ({
      id: event.id,
      type: event.type,
      status: event.status,
      leftMs: deadlineAt === undefined ? undefined : Math.round(deadlineAt - now),
      ack: ack.kind,
    })),
    drain:
      drain === undefined
        ? undefined
        : {
            eventId: drain.event.id,
            leftMs: drain.phase === 'resuming' ? undefined : Math.round(drain.deadlineAt - now),
            outcome: drain.outcome,
            hooks: drain.hooks.map(({ name, stage, run, attempt }) => ({
              name,
              stage,
              state: run.kind === 'ended' ? run.result.kind : run.kind,
              attempt,
            })),
            sets: drain.sets.map(({ name, run, attempt }) => ({ name, state: run.kind, attempt })),
          },
    sets: sources.progress.map((set) => ({
      ...set,
      committedAgoMs: set.committedAt === undefined ? undefined : sources.wallNow - set.committedAt,
    })),
    upload: {
      bytesLeft: sources.upload?.bytesLeft ?? 0,
      bytesPerSecond: sources.upload?.bytesPerSecond,
    },
    store: sources.store,
  };
}
