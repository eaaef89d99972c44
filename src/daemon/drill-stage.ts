import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import { writeReport } from '../checkpoint/retention/reports.ts';
import type { Config } from '../config/schema.ts';
import type { EventDocument } from '../core/event.ts';
import type { Policy } from '../core/policy.ts';
import type { HookResult, HookRunner } from '../core/ports.ts';
import { INITIAL_STATE, type SetRun, type State } from '../core/state.ts';
import { forgetUnits, hookUnit } from '../hooks/unit-state.ts';
import { type Poller, startPoller } from '../imds/poller.ts';
import { type ScheduledEventsClient, createScheduledEventsClient } from '../imds/scheduled-events.ts';
import { createJournal } from '../journal/journal.ts';
import type { DrainReport } from '../observe/drain-report.ts';
import { type CheckpointHost, startCheckpointHost } from './checkpoint-host.ts';
import type { DrillDependencies } from './drill-dependencies.ts';
import type { DrillEngine } from './drill-engine.ts';
import { type Loop, startLoop } from './loop.ts';
import { type Operations, createOperations } from './operations.ts';
import { createExecutors, perform } from './perform.ts';
import { noteOf } from './notes.ts';
import { type ReportContext, reportFiles, reportOf } from './report.ts';
import { type HookSources, wireHooks } from './wire-hooks.ts';

export interface RehearsalOptions {
  readonly config: Config;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly vmName: string;
  readonly bootId: string;
  readonly windowMs: number;
  /** Programs run as units of systemd, as the service would have them. */
  readonly asUnits: boolean;
  /** For the journal. */
  readonly folder: string;
  /** What the running daemon has measured. */
  readonly bytesPerSecond: number | undefined;
}

export interface RehearsalDependencies extends DrillDependencies {
  readonly engine: DrillEngine | undefined;
}

/** The parts of a daemon that drain, put together for one drain. */
export interface Stage extends AsyncDisposable {
  readonly loop: Loop;
  readonly poller: Poller;
  readonly ask: (signal: AbortSignal) => Promise<EventDocument>;
  /** How it stood once there was nothing left to do but wait for the end. */
  readonly drained: Promise<DrainReport>;
  /** The same once no set is tried any more: those that the window was too short for are committed late. */
  readonly settled: Promise<DrainReport>;
  /** Undefined while nothing drains. */
  readonly reportNow: () => DrainReport | undefined;
  /** The `on-resume` hooks, once the VM is watched again. */
  readonly undone: Promise<readonly Resumed[]>;
}

/** An `on-resume` hook that ran, by which the machine is as it was. */
export type Resumed = { readonly name: string } & HookResult;

export async function openStage(
  options: RehearsalOptions,
  dependencies: RehearsalDependencies,
  imdsUrl: string,
): Promise<Stage> {
  const { config, env, vmName, windowMs, asUnits } = options;
  const { clock, log, engine } = dependencies;
  const hooks = await wireHooks(config, false, {
    clock,
    log,
    // As the service has it; what only works in somebody's shell should be found out.
    env: asUnits ? {} : env,
    vmName: () => vmName,
    asUnits,
  });
  const policy = withWindow(hooks.policy(), windowMs);
  const client = createScheduledEventsClient({ ...config.imds, endpoint: imdsUrl }, { clock });
  const operations = createOperations(clock, (error) => course.crash(error));
  const checkpoints = engine === undefined ? undefined : hostOf(options, engine, dependencies);
  const context = (state: State) => ({
    now: clock.monotonicMs(),
    state,
    checkpoints,
    log: dependencies.logLines(),
  });
  const course = followCourse(operations, context);
  const loop = runLoop(
    { policy, hooks, client, operations, checkpoints, course, context },
    options,
    dependencies,
  );
  loop.send({ kind: 'identified', vmName });
  const poller = pollWith(config, client, loop, clock);
  return {
    loop,
    poller,
    ask: async (signal) => (await client.get(config.imds.requestTimeout, signal)).document,
    drained: course.drained,
    settled: course.settled,
    reportNow() {
      const state = loop.state();
      return state.drain === undefined ? undefined : reportOf(state.drain, context(state));
    },
    undone: course.undone,
    async [Symbol.asyncDispose]() {
      const { drain } = loop.state();
      loop.stop();
      await poller.stop();
      // Not by `stop` alone, which lets units go on.
      if (drain !== undefined) cancelAll(operations, drain.id);
      await operations.stop();
      await checkpoints?.stop();
      await client.close();
      if (asUnits) await forgetUnits(clock, course.units());
    },
  };
}

interface Parts {
  readonly policy: Policy;
  readonly hooks: HookSources;
  readonly client: ScheduledEventsClient;
  readonly operations: Operations;
  readonly checkpoints: CheckpointHost | undefined;
  readonly course: ReturnType<typeof followCourse>;
  readonly context: (state: State) => ReportContext;
}

function runLoop(
  { policy, hooks, client, operations, checkpoints, course, context }: Parts,
  { folder, bootId }: RehearsalOptions,
  { clock, log, onNote }: RehearsalDependencies,
): Loop {
  const executors = createExecutors({
    noteOf,
    clock,
    log,
    loop: () => loop,
    operations,
    hooks: course.watched(hooks.runner),
    policy: () => policy,
    checkpoints,
    acknowledge: (eventId, signal) => client.acknowledge(eventId, signal),
    reportContext: () => context(loop.state()),
    onNote,
    onExit: () => undefined,
    drill: true,
  });
  const journal = createJournal({ dir: folder, bootId });
  const loop: Loop = startLoop(INITIAL_STATE, {
    clock,
    policy: () => policy,
    persist: (state) => journal.write(state),
    perform: (effect) => perform(executors, effect),
    upload: () => checkpoints?.estimate(),
    onDecided: course.onDecided,
    onPersistFailed: (error) =>
      log.warn('state of the drill not kept, continuing', { detail: messageOf(error) }),
    onPersistWorks: () => undefined,
    onCrash: course.crash,
  });
  return loop;
}

/** What is to be known of the drain, as it goes on. */
function followCourse(operations: Operations, context: (state: State) => ReportContext) {
  const drained = Promise.withResolvers<DrainReport>();
  const settled = Promise.withResolvers<DrainReport>();
  const undone = Promise.withResolvers<readonly Resumed[]>();
  const resumed: Resumed[] = [];
  // Before they are tried again, late.
  let setsAtEnd: readonly SetRun[] | undefined;
  // An interruption leaves them unawaited.
  for (const { promise } of [drained, settled, undone]) promise.catch(() => undefined);
  let units: readonly string[] = [];
  return {
    drained: drained.promise,
    settled: settled.promise,
    undone: undone.promise,
    /** Of its hooks, where they are units. */
    units: () => units,
    /** Results of hooks pass through it. */
    watched: (runner: HookRunner): HookRunner => ({
      async run(request, signal) {
        const result = await runner.run(request, signal);
        if (request.stage === 'on-resume') resumed.push({ name: request.name, ...result });
        return result;
      },
    }),
    crash(this: void, error: unknown) {
      drained.reject(error);
      settled.reject(error);
      undone.reject(error);
    },
    onDecided(this: void, before: State, { drain, ...after }: State) {
      if (drain === undefined) {
        if (before.drain !== undefined) undone.resolve(resumed);
        return;
      }
      units = drain.hooks.map(({ name }) => hookUnit(name, drain.id));
      if (drain.phase === 'report') setsAtEnd = drain.sets;
      if (drain.phase === 'waiting') {
        const at = context({ ...after, drain });
        drained.resolve(reportOf({ ...drain, sets: setsAtEnd ?? drain.sets }, at));
        const isSettled = ({ run }: SetRun) =>
          run.kind === 'committed' || (run.kind === 'failed' && !run.retryable);
        if (drain.sets.every(isSettled)) settled.resolve(reportOf(drain, at));
      }
      // What the window was too short for, or the user's patience, is of no use any more.
      if (drain.phase === 'withdrawn') cancelAll(operations, drain.id);
    },
  };
}

function withWindow(policy: Policy, noticeMs: number): Policy {
  return { ...policy, window: { ...policy.window, noticeMs } };
}

function cancelAll(operations: Operations, drainId: string): void {
  operations.cancel(drainId, 'hook');
  operations.cancel(drainId, 'upload');
}

function pollWith({ imds }: Config, client: ScheduledEventsClient, loop: Loop, clock: Clock): Poller {
  return startPoller(
    { intervalMs: imds.pollInterval, requestTimeoutMs: imds.requestTimeout },
    {
      clock,
      client,
      onPoll: ({ document }) => loop.send({ kind: 'document', document }),
      onFailure: () => loop.send({ kind: 'poll-failed' }),
    },
  );
}

/** The open engine as the executors know it; the report goes where the rest of the drill goes. */
function hostOf(
  { bytesPerSecond }: RehearsalOptions,
  { port, drillStore, place }: DrillEngine,
  { clock }: RehearsalDependencies,
): CheckpointHost {
  const estimate = () => {
    const { bytesLeft, bytesPerSecond: measured } = port.estimate();
    return { bytesLeft, bytesPerSecond: measured ?? bytesPerSecond };
  };
  return startCheckpointHost(
    { sets: port.progress().map(({ name }) => name) },
    {
      clock,
      open: async () => ({
        port: { ...port, estimate },
        writeReport: (report, signal) =>
          writeReport(drillStore, place, report.eventId, reportFiles(report), signal),
        problem: () => undefined,
        isUsable: () => true,
        synced: async () => undefined,
        close: async () => undefined,
      }),
      onProblem: () => undefined,
      onReady: () => undefined,
    },
  );
}
