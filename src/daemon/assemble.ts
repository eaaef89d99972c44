import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Config } from '../config/schema.ts';
import type { CommitRequest, CommitResult } from '../core/ports.ts';
import type { State } from '../core/state.ts';
import { createScheduledEventsClient } from '../imds/scheduled-events.ts';
import type { ScheduledEventsClient } from '../imds/scheduled-events.ts';
import { createJournal, readBootId, unwritable } from '../journal/journal.ts';
import type { Log } from '../observe/log.ts';
import { announce } from './announce.ts';
import type { CheckpointHost } from './checkpoint-host.ts';
import { dryDeeds } from './dry-run.ts';
import { noteOf } from './notes.ts';
import { type Identity, startIdentity } from './identity.ts';
import { type Loop, startLoop } from './loop.ts';
import { type Operations, createOperations } from './operations.ts';
import { createExecutors, perform } from './perform.ts';
import { configuredVmName } from './policy.ts';
import { type PollLog, createIdentityLog, createPollLog } from './poll-log.ts';
import { recall } from './recall.ts';
import { type StateLog, createStateLog } from './state-log.ts';
import { type StatusTeller, statusLine } from './status-line.ts';
import type { SystemdDrain } from './systemd-drain.ts';
import { wireCheckpoints } from './wire-checkpoints.ts';
import { type Clients, withRegistered } from './wire-control.ts';
import { type HookSources, wireHooks } from './wire-hooks.ts';

export interface DaemonOptions {
  readonly config: Config;
  /** Decide for real, do nothing: no hook, no write anywhere, no ack, no state, no socket. */
  readonly dryRun: boolean;
  readonly env: Readonly<Record<string, string | undefined>>;
}

export interface DaemonDependencies {
  readonly clock: Clock;
  readonly log: Log;
  /** The newest lines of that log. */
  readonly logLines: () => readonly string[];
}

/** Those who hear what goes on. */
export interface Listeners {
  readonly teller: StatusTeller;
  readonly systemd: SystemdDrain;
  readonly clients: Clients;
  /** No notice would be seen. */
  readonly isBlind: () => boolean;
  readonly onDecided: (before: State, after: State) => void;
  readonly onCommit: (request: CommitRequest, result: CommitResult) => void;
}

/** The parts of a running daemon, put together and told what an earlier process knew. */
export interface Assembly {
  readonly loop: Loop;
  readonly client: ScheduledEventsClient;
  readonly hooks: HookSources;
  readonly checkpoints: CheckpointHost | undefined;
  readonly identity: Identity;
  readonly operations: Operations;
  readonly pollLog: PollLog;
  readonly stateLog: StateLog;
  /** What `systemctl status` shows. */
  readonly statusLine: () => string;
  /** Shows it, if it has changed. */
  readonly tellStatus: () => void;
  /** Resolves when the core says that it is time to go; rejects on a bug. */
  readonly exited: Promise<void>;
}

export async function assemble(
  { config, dryRun, env }: DaemonOptions,
  { clock, log, logLines }: DaemonDependencies,
  { teller, systemd, clients, isBlind, onDecided, onCommit }: Listeners,
): Promise<Assembly> {
  const exit = Promise.withResolvers<void>();
  const bootId = await readBootId();
  const stateDir = dryRun ? undefined : config.state.dir;
  const vmName = configuredVmName(config);
  const journal = stateDir === undefined ? undefined : createJournal({ dir: stateDir, bootId });
  const recalled = await recall(journal, log, clock);
  const hooks = withRegistered(
    await wireHooks(config, dryRun, { clock, log, env, vmName: () => loop.state().vmName }),
    clients.registry,
  );
  const pollLog = createPollLog(log, clock);
  const operations = createOperations(clock, exit.reject);
  const client = createScheduledEventsClient(config.imds, { clock });
  const identity = identify({ config, stateDir, bootId }, { clock, log }, (name) =>
    loop.send({ kind: 'identified', vmName: name }),
  );
  const isDraining = () => loop.state().drain !== undefined;
  const checkpoints = wireCheckpoints(config, dryRun, bootId, identity, { clock, log, isDraining, onCommit });
  const stateLog = createStateLog(config.state.dir, log);
  const line = () =>
    statusLine(loop.state(), isBlind(), [pollLog.lastError(), checkpoints?.problem(), stateLog.problem()]);
  const tellStatus = () => teller.tell(line);
  const executors = createExecutors({
    clock,
    log,
    loop: () => loop,
    operations,
    hooks: hooks.runner,
    policy: () => hooks.policy(),
    checkpoints,
    ...(dryRun ? dryDeeds(log) : { noteOf, acknowledge: (id, signal) => client.acknowledge(id, signal) }),
    reportContext: () => ({ now: clock.monotonicMs(), state: loop.state(), checkpoints, log: logLines() }),
    onNote: (note) => {
      tellStatus();
      systemd.follow(loop.state());
      announce(note, loop.state(), clock, (event, data) => clients.hub.broadcast(event, data));
    },
    onExit: exit.resolve,
  });
  const loop: Loop = startLoop(recalled.state, {
    clock,
    policy: () => hooks.policy(),
    ...stateLog,
    persist: (state) => journal?.write(state),
    perform: (effect) => perform(executors, effect),
    upload: () => checkpoints?.estimate(),
    onDecided,
    onCrash: exit.reject,
  });
  if (recalled.news !== undefined) loop.send(recalled.news);
  if (vmName !== undefined) loop.send({ kind: 'identified', vmName });
  return {
    loop,
    client,
    hooks,
    checkpoints,
    identity,
    operations,
    pollLog,
    stateLog,
    statusLine: line,
    tellStatus,
    exited: exit.promise,
  };
}

function identify(
  { config, stateDir, bootId }: { config: Config; stateDir: string | undefined; bootId: string },
  { clock, log }: Pick<DaemonDependencies, 'clock' | 'log'>,
  onName: (vmName: string) => void,
): Identity {
  const { endpoint, requestTimeout } = config.imds;
  return startIdentity(
    { endpoint, requestTimeoutMs: requestTimeout, vmName: configuredVmName(config), stateDir, bootId },
    {
      clock,
      onName,
      onFailure: createIdentityLog(log, clock),
      onCacheFailed: (error) =>
        log.warn('instance document not kept, continuing', {
          detail: messageOf(error),
          remedy: unwritable(config.state.dir, error).remedy,
        }),
    },
  );
}
