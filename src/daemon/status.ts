import type { MonotonicMs } from '../base/clock.ts';
import type { EvictdError } from '../base/errors.ts';
import type { SetProgress, UploadEstimate } from '../core/ports.ts';
import { expectedUploadMs } from '../core/budget.ts';
import { type HookPolicy, type Occasion, type Policy, STAGES } from '../core/policy.ts';
import type { HookRun, State } from '../core/state.ts';
import { type Protection, isBlind, protectionOf } from './protection.ts';

/** What `evictd status --json` and `GET /v1/status` answer. A stable contract; times are in ms. */
export interface Status {
  readonly version: 1;
  readonly evictdVersion: string;
  readonly pid: number;
  readonly dryRun: boolean;
  readonly vmName: string | undefined;
  /** `blind`, `identifying`, `watching`, or the phase of the drain. */
  readonly phase: string;
  readonly protection: Protection;
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
  /** All that would run at an event, registered ones included, in the order in which they run. */
  readonly hooks: readonly HookPolicy[];
  /** Those that would run at another VM's event. */
  readonly peerHooks: readonly HookPolicy[];
  /** Other VMs' draining events, and the hooks that run because of them. */
  readonly peers: readonly {
    readonly eventId: string;
    readonly type: string;
    readonly resources: readonly string[];
    readonly hooks: readonly HookRunStatus[];
  }[];
  readonly drain:
    | {
        readonly eventId: string;
        /** Undefined once the event is gone and the drain is being undone. */
        readonly leftMs: number | undefined;
        readonly outcome: string | undefined;
        /** In the order in which they run. */
        readonly hooks: readonly HookRunStatus[];
        readonly sets: readonly {
          readonly name: string;
          readonly state: string;
          readonly attempt: number;
          /** The window ended without it, and it was tried again after that. */
          readonly late: boolean;
          /** Why the newest try failed. */
          readonly detail: string | undefined;
        }[];
      }
    | undefined;
  readonly sets: readonly (SetProgress & { readonly committedAgoMs: number | undefined })[];
  /** What a notice now would have to move. */
  readonly upload: {
    /** Undefined until the sets have been looked at, and while the store can't be used. */
    readonly bytesLeft: number | undefined;
    /** Measured; undefined until something was sent. */
    readonly bytesPerSecond: number | undefined;
    /** With an assumed rate while there is none. Undefined like `bytesLeft`. */
    readonly expectedMs: number | undefined;
    /** The most that a notice gives. */
    readonly windowMs: number;
  };
  readonly store: StoreStatus | undefined;
}

export interface StoreStatus {
  readonly ready: boolean;
  readonly error: string | undefined;
  readonly remedy: string | undefined;
}

export interface HookRunStatus {
  readonly name: string;
  readonly stage: Occasion;
  /** `pending`, `running`, `succeeded`, `failed` or `skipped`. */
  readonly state: string;
  readonly attempt: number;
  /** So far, while it runs. */
  readonly durationMs: number | undefined;
  /** Why it failed or was skipped: a word for programs. */
  readonly reason: string | undefined;
  /** The same for people. */
  readonly detail: string | undefined;
}

export interface StatusSources {
  readonly now: MonotonicMs;
  readonly wallNow: number;
  readonly state: State;
  readonly evictdVersion: string;
  readonly dryRun: boolean;
  readonly poll: { readonly lastGoodAt: MonotonicMs | undefined; readonly consecutiveFailures: number };
  readonly pollError: EvictdError | undefined;
  readonly stateProblem: EvictdError | undefined;
  readonly policy: Policy;
  readonly progress: readonly SetProgress[];
  readonly upload: UploadEstimate | undefined;
  readonly store: StoreStatus | undefined;
}

export function statusOf(sources: StatusSources): Status {
  const { now, state, poll } = sources;
  const { drain } = state;
  const lastGoodAgoMs = poll.lastGoodAt === undefined ? undefined : Math.round(now - poll.lastGoodAt);
  const upload = describeUpload(sources);
  return {
    version: 1,
    evictdVersion: sources.evictdVersion,
    pid: process.pid,
    dryRun: sources.dryRun,
    vmName: state.vmName,
    phase: phaseShown(state, lastGoodAgoMs),
    protection: protectionOf({
      ...sources,
      lastGoodPollAgoMs: lastGoodAgoMs,
      hooks: sources.policy.hooks.length,
      upload: upload.expectedMs === undefined ? undefined : { ...upload, expectedMs: upload.expectedMs },
    }),
    poll: {
      lastGoodAgoMs,
      consecutiveFailures: poll.consecutiveFailures,
      lastError: sources.pollError?.message,
    },
    events: state.watched.map(({ event, deadlineAt, ack }) => ({
      id: event.id,
      type: event.type,
      status: event.status,
      leftMs: deadlineAt === undefined ? undefined : Math.round(deadlineAt - now),
      ack: ack.kind,
    })),
    hooks: inRunningOrder(sources.policy.hooks),
    peerHooks: inRunningOrder(sources.policy.peerHooks),
    peers: state.peers.map(({ event, hooks }) => ({
      eventId: event.id,
      type: event.type,
      resources: event.resources,
      hooks: hooks.map((hook) => describeHook({ ...hook, stage: 'peer-notice' }, now)),
    })),
    drain:
      drain === undefined
        ? undefined
        : {
            eventId: drain.event.id,
            leftMs: round(windowLeftMs(state, now)),
            outcome: drain.outcome,
            hooks: inRunningOrder(drain.hooks).map((hook) => describeHook(hook, now)),
            sets: drain.sets.map(({ name, run, attempt, late }) => ({
              name,
              state: run.kind,
              attempt,
              late,
              detail: 'detail' in run ? run.detail : undefined,
            })),
          },
    sets: sources.progress.map((set) => ({
      ...set,
      committedAgoMs: round(set.committedAt === undefined ? undefined : sources.wallNow - set.committedAt),
    })),
    upload,
    store: sources.store,
  };
}

/** As `phaseOf`, but `blind` where no notice would be seen. */
export function phaseShown(state: State, lastGoodPollAgoMs: number | undefined): string {
  return state.drain === undefined && isBlind(lastGoodPollAgoMs) ? 'blind' : phaseOf(state);
}

/** `identifying`, `watching`, or the phase of the drain. */
export function phaseOf({ drain, vmName }: State): string {
  return drain?.phase ?? (vmName === undefined ? 'identifying' : 'watching');
}

/** Milliseconds to the end of the drain's window; undefined without one, and once the drain is being undone. */
export function windowLeftMs({ drain }: State, now: MonotonicMs): number | undefined {
  return drain === undefined || drain.phase === 'resuming' ? undefined : drain.deadlineAt - now;
}

function describeUpload({ upload, policy, store }: StatusSources): Status['upload'] {
  // To the core, which shares out the time, nothing is left for a store that takes nothing; to people that isn't true.
  const known = store?.ready === false ? undefined : upload;
  const isNone = upload === undefined;
  return {
    bytesLeft: isNone ? 0 : known?.bytesLeft,
    bytesPerSecond: round(upload?.bytesPerSecond),
    expectedMs: isNone ? 0 : known && round(expectedUploadMs(known)),
    windowMs: policy.window.noticeMs,
  };
}

function inRunningOrder<T extends Pick<HookPolicy, 'stage' | 'order'>>(hooks: readonly T[]): readonly T[] {
  return hooks.toSorted(
    (one, other) => STAGES.indexOf(one.stage) - STAGES.indexOf(other.stage) || one.order - other.order,
  );
}

function describeHook(
  { name, stage, attempt, run }: Pick<HookRun, 'name' | 'attempt' | 'run'> & { readonly stage: Occasion },
  now: MonotonicMs,
): HookRunStatus {
  return { name, stage, attempt, ...describeRun(run, now) };
}

function describeRun(run: HookRun['run'], now: MonotonicMs) {
  const nothing = { durationMs: undefined, reason: undefined, detail: undefined };
  switch (run.kind) {
    case 'pending':
      return { ...nothing, state: run.kind };
    case 'running':
      return { ...nothing, state: run.kind, durationMs: round(now - run.startedAt) };
    case 'skipped':
      return { ...nothing, state: run.kind, reason: run.why, detail: SKIPPED[run.why] };
    case 'ended': {
      const { result } = run;
      const failure = result.kind === 'failed' ? { reason: result.reason, detail: result.detail } : {};
      return { ...nothing, ...failure, state: result.kind, durationMs: round(result.durationMs) };
    }
  }
}

const SKIPPED = {
  'no-time': 'there was no time left for it',
  withdrawn: 'the event was withdrawn',
} as const;

function round(value: number | undefined): number | undefined {
  return value === undefined ? undefined : Math.round(value);
}
