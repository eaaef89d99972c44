import { boundedSignal, sleep } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { EvictdError, messageOf } from '../base/errors.ts';
import type { Effect } from '../core/effect.ts';
import type { ScheduledEvent } from '../core/event.ts';
import { workEndAt } from '../core/budget.ts';
import { type Policy, hookApplies } from '../core/policy.ts';
import type { AckResult, CommitRequest, CommitResult, HookRequest, HookRunner } from '../core/ports.ts';
import type { Drain, Watched } from '../core/state.ts';
import type { Log } from '../observe/log.ts';
import type { CheckpointHost } from './checkpoint-host.ts';
import type { Loop } from './loop.ts';
import type { noteOf } from './notes.ts';
import type { Operations } from './operations.ts';
import { type ReportContext, reportOf } from './report.ts';

/** A new kind of effect without an executor does not compile. Executors start work and return. */
export type Executors = {
  readonly [K in Effect['kind']]: (effect: Extract<Effect, { kind: K }>) => void;
};

export interface PerformDependencies {
  readonly clock: Clock;
  readonly log: Log;
  readonly loop: () => Loop;
  readonly operations: Operations;
  readonly hooks: HookRunner;
  readonly policy: () => Policy;
  /** Undefined without a `checkpoint` section. */
  readonly checkpoints: CheckpointHost | undefined;
  readonly acknowledge: (eventId: string, signal: AbortSignal) => Promise<AckResult>;
  /** What a report says besides the drain itself. */
  readonly reportContext: () => ReportContext;
  /** How a note is logged. */
  readonly noteOf: typeof noteOf;
  readonly onNote: (effect: Extract<Effect, { kind: 'note' }>) => void;
  readonly onExit: () => void;
  /** Hooks are told that it is only a rehearsal. */
  readonly drill?: boolean;
}

export function perform(executors: Executors, effect: Effect): void {
  // The table's type pairs each kind with its own executor; the compiler can't follow that through an index.
  (executors[effect.kind] as (effect: Effect) => void)(effect);
}

/** What turns decisions into deeds. Every deed answers with news for the loop. */
export function createExecutors(dependencies: PerformDependencies): Executors {
  const { clock, log, operations } = dependencies;
  return {
    'run-hook': (effect) => runHook(dependencies, effect),
    'run-peer-hook': (effect) => runPeerHook(dependencies, effect),
    'cancel-hooks': ({ drainId }) => operations.cancel(drainId, 'hook'),
    tighten: (effect) => tighten(dependencies, effect),
    'stage-sets': ({ drainId, sets, endsAt }) => {
      for (const set of sets) {
        operations.run(drainId, 'upload', endsAt - clock.monotonicMs(), (signal) =>
          stage(dependencies, drainId, set, signal),
        );
      }
    },
    'commit-set': ({ drainId, set, attempt, endsAt }) => {
      operations.run(drainId, 'upload', endsAt - clock.monotonicMs(), async (signal) => {
        const result = await commit(dependencies, { set, reason: 'notice', endsAt }, signal);
        dependencies.loop().send({ kind: 'set-ended', drainId, set, attempt, result });
      });
    },
    'take-checkpoint': (effect) => takeCheckpoint(dependencies, effect),
    'write-report': ({ drain, endsAt }) => {
      // A signal of its own: what was cut short before must not take the report along.
      writeReport(dependencies, drain, endsAt).catch(dependencies.loop().crash);
    },
    acknowledge: ({ eventId, attempt, endsAt }) => {
      acknowledge(dependencies, eventId, attempt, endsAt).catch(dependencies.loop().crash);
    },
    note: (effect) => {
      const { message, fields } = dependencies.noteOf(effect);
      log[effect.level](message, fields);
      dependencies.onNote(effect);
    },
    exit: () => dependencies.onExit(),
  };
}

/** From the SIGTERM of a hook that is cut short to its SIGKILL, as the runner has it at a timeout. */
const HOOK_GRACE_MS = 1000;

function tighten(
  { clock, operations }: PerformDependencies,
  { drainId, hooksEndAt, uploadsEndAt }: Extract<Effect, { kind: 'tighten' }>,
): void {
  operations.tighten(drainId, 'upload', uploadsEndAt);
  if (hooksEndAt === undefined) return;
  const graceMs = Math.min(HOOK_GRACE_MS, (hooksEndAt - clock.monotonicMs()) / 4);
  operations.tighten(drainId, 'hook', hooksEndAt - graceMs);
}

/** For an event that asks for a checkpoint without a drain: all sets, and its ack waits for the end. */
function takeCheckpoint(
  dependencies: PerformDependencies,
  { eventId, reason }: Extract<Effect, { kind: 'take-checkpoint' }>,
): void {
  const { log, operations } = dependencies;
  operations.run('none', 'upload', CHECKPOINT_MS, async (signal) => {
    const sets = dependencies.checkpoints?.progress() ?? [];
    await Promise.all(
      sets.map(async ({ name }) => {
        const result = await commit(dependencies, { set: name, reason }, signal);
        const fields = { set: name, eventId, ...result };
        if (result.kind === 'committed') log.info('checkpoint taken', fields);
        else log.warn('checkpoint failed, continuing', fields);
      }),
    );
    dependencies.loop().send({ kind: 'checkpoint-ended', eventId });
  });
}

/** A checkpoint outside a drain has time, but not for ever. */
const CHECKPOINT_MS = 30 * 60_000;

function runHook(dependencies: PerformDependencies, effect: Extract<Effect, { kind: 'run-hook' }>): void {
  const { clock, operations, drill = false } = dependencies;
  const { drainId, name, stage, attempt, deadlineAt, checkpoint } = effect;
  const { drain, watched } = dependencies.loop().state();
  if (drain?.id !== drainId) return;
  const event = eventFor(name, dependencies.policy(), drain, watched);
  // Since it was decided the state was written, which takes a second where the disk hangs.
  const endsAt = stage === 'on-resume' ? Infinity : workEndAt(dependencies.policy(), drain);
  const timeoutMs = Math.min(effect.timeoutMs, Math.max(0, endsAt - clock.monotonicMs()));
  const windowLeftMs = deadlineAt === undefined ? undefined : deadlineAt - clock.monotonicMs();
  // The runner ends the hook at its timeout; the signal is only for what comes earlier.
  operations.run(drainId, 'hook', timeoutMs * 2, async (signal) => {
    const result = await dependencies.hooks.run(
      { name, drainId, event, stage, attempt, timeoutMs, windowLeftMs, checkpoint, drill },
      signal,
    );
    dependencies.loop().send({ kind: 'hook-ended', drainId, name, attempt, result });
  });
}

function runPeerHook(
  { hooks, operations, loop }: PerformDependencies,
  { noticeId, name, attempt, timeoutMs }: Extract<Effect, { kind: 'run-peer-hook' }>,
): void {
  const event = loop()
    .state()
    .peers.find(({ id }) => id === noticeId)?.event;
  if (event === undefined) return;
  const request: HookRequest = {
    name,
    drainId: noticeId,
    event,
    stage: 'peer-notice',
    attempt,
    timeoutMs,
    windowLeftMs: undefined,
    checkpoint: undefined,
    drill: false,
  };
  operations.run(noticeId, 'hook', timeoutMs * 2, async (signal) => {
    const result = await hooks.run(request, signal);
    loop().send({ kind: 'peer-hook-ended', noticeId, name, attempt, result });
  });
}

/** One drain may serve several events; a hook that is meant for only some of them is told of one of these. */
function eventFor(name: string, policy: Policy, drain: Drain, watched: readonly Watched[]): ScheduledEvent {
  const hook = policy.hooks.find((one) => one.name === name);
  if (hook === undefined) return drain.event;
  // Another drain has served those that were there before.
  const isServed = ({ deadlineAt, firstSeenAt }: Watched) =>
    deadlineAt !== undefined && firstSeenAt >= drain.startedAt;
  const events = [drain.event, ...watched.filter(isServed).map(({ event }) => event)];
  return events.find((event) => hookApplies(policy, hook, event)) ?? drain.event;
}

/** Reading and hashing files would hold up the start of the hooks by more than this, and they stop the workload. */
const HOOKS_FIRST_MS = 25;

async function stage(
  { clock, checkpoints, log, loop }: PerformDependencies,
  drainId: string,
  set: string,
  signal: AbortSignal,
): Promise<void> {
  try {
    await sleep(clock, HOOKS_FIRST_MS, signal);
    const { drain } = loop().state();
    // From then on the commit does it all.
    if (drain?.id !== drainId || drain.phase !== 'before-checkpoint') return;
    await checkpoints?.stage(set, signal);
  } catch (error) {
    // Nothing is lost: the commit stages what is missing, and its failure is what counts.
    const code = error instanceof EvictdError ? error.code : 'unknown';
    log.debug('staging ended early, continuing', { set, code, detail: messageOf(error) });
  }
}

async function commit(
  { checkpoints }: PerformDependencies,
  request: CommitRequest,
  signal: AbortSignal,
): Promise<CommitResult> {
  return checkpoints === undefined
    ? { kind: 'failed', code: 'not-configured', detail: 'there is no checkpoint section', retryable: false }
    : checkpoints.commit(request, signal);
}

async function writeReport(dependencies: PerformDependencies, drain: Drain, endsAt: number): Promise<void> {
  const { clock, log, loop } = dependencies;
  using bound = boundedSignal(clock, endsAt - clock.monotonicMs());
  try {
    await dependencies.checkpoints?.writeReport(reportOf(drain, dependencies.reportContext()), bound.signal);
  } catch (error) {
    log.warn('report of the drain not stored, trying again later', { detail: messageOf(error) });
  }
  // An ack may end the machine at once, and its disk may be used again.
  await dependencies.checkpoints?.synced(bound.signal);
  loop().send({ kind: 'report-ended', drainId: drain.id });
}

async function acknowledge(
  dependencies: PerformDependencies,
  eventId: string,
  attempt: number,
  endsAt: number,
): Promise<void> {
  const { clock, loop } = dependencies;
  using bound = boundedSignal(clock, endsAt - clock.monotonicMs());
  const result = await dependencies.acknowledge(eventId, bound.signal);
  loop().send({ kind: 'ack-ended', eventId, attempt, result });
}
