import { abandonOn, boundedSignal, sleep } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { EvictdError, messageOf } from '../base/errors.ts';
import { collectGarbage } from '../base/garbage.ts';
import { buildInfo } from '../base/version.ts';
import { type ControlServer, startControlServer } from '../control/server.ts';
import { mayMakeUnits } from '../hooks/manager.ts';
import { type Poller, startPoller } from '../imds/poller.ts';
import { lockState } from '../journal/state-lock.ts';
import type { Metrics } from '../observe/metrics.ts';
import { type ServiceNotifier, createServiceNotifier } from '../observe/systemd.ts';
import { type Assembly, type DaemonDependencies, type DaemonOptions, assemble } from './assemble.ts';
import { loadMetrics, startEndpoints } from './endpoints.ts';
import { NOTHING_TO_DO, isNothingToDo } from './nothing-to-do.ts';
import { createStopping, isMachineShuttingDown } from './stopping.ts';
import { createStatusTeller } from './status-line.ts';
import { isBlind } from './protection.ts';
import { type Running, goodPollAgoMs, shownStatus, snapshotOf } from './running.ts';
import { NO_SYSTEMD_DRAIN, type SystemdDrain, createSystemdDrain, systemdManager } from './systemd-drain.ts';
import { type Clients, controlHandlers, createClients } from './wire-control.ts';
import { wireNotify } from './wire-notify.ts';

const REFRESH_MS = 10_000;
/** How much later than planned a poll may go out before the schedule counts as standing still. */
const SILENT_MS = 15_000;
const STOP_MS = 5000;
/** A disk that hangs must not keep the daemon from watching. */
const LOCK_MS = 3000;

/**
 * The daemon, until the signal asks it to stop and the drain that may be under way is over. READY is told once the
 * control socket is open, the journal is read and the first poll is out: the first answer may take two minutes.
 * Rejects `already-running` and `control-unusable`; every other trouble is said and survived.
 */
export async function runDaemon(
  options: DaemonOptions,
  dependencies: DaemonDependencies,
  signal: AbortSignal,
): Promise<void> {
  let running: Running | undefined;
  // Before anything else: a second daemon that read the journal first would go on with the drain of the living one.
  await using _lock = options.dryRun ? undefined : await lockOrSay(options, dependencies);
  const clients = createClients(dependencies.clock);
  const control = options.dryRun
    ? undefined
    : await openControl(options, dependencies, clients, () => running);
  const notifier = createServiceNotifier(
    { env: options.dryRun ? {} : options.env },
    {
      clock: dependencies.clock,
      onFailure: ({ message }) =>
        dependencies.log.warn('systemd can not be told, continuing', { detail: message }),
    },
  );
  const endpoints = options.dryRun ? { checkpoint: undefined } : options.config;
  const metrics = await loadMetrics(endpoints);
  using teller = createStatusTeller({
    clock: dependencies.clock,
    show: (line) => void notifier.status(line),
  });
  using systemd = followDrain(options, dependencies);
  const notifications = await wireNotify(options, {
    ...dependencies,
    onResult: (result) => metrics?.onNotification(result),
  });
  try {
    const parts = await assemble(options, dependencies, {
      teller,
      systemd,
      clients,
      isBlind: () =>
        isBlind(running === undefined ? undefined : goodPollAgoMs(running.poller, dependencies.clock)),
      onDecided(before, after) {
        metrics?.onDecided(before, after);
        notifications?.onDecided(after);
      },
      onCommit: ({ set, reason }, result) => metrics?.onCommit(set, reason, result),
    });
    const now: Running = { parts, poller: startPolling(options, dependencies, parts, metrics) };
    running = now;
    await using _endpoints = startEndpoints(
      endpoints,
      {
        metrics,
        snapshot: () => snapshotOf(now, dependencies.clock),
        drain: () => parts.loop.state().drain,
        isBlind: () => isBlind(goodPollAgoMs(now.poller, dependencies.clock)),
      },
      dependencies,
    );
    await live(options, dependencies, now, notifier, signal);
  } finally {
    await shutDown(dependencies.clock, running, control, notifier);
    await notifications?.stop();
    dependencies.log.info('evictd stopped');
  }
}

async function live(
  options: DaemonOptions,
  dependencies: DaemonDependencies,
  { parts, poller }: Running,
  notifier: ServiceNotifier,
  signal: AbortSignal,
): Promise<void> {
  const { dryRun, config } = options;
  const { clock, log } = dependencies;
  const over = new AbortController();
  const isShuttingDown = async () => mayMakeUnits(options.env) && (await isMachineShuttingDown(clock));
  using stopping = createStopping(
    { onShutdown: config.checkpoint?.onShutdown === true },
    { clock, log, notifier, isShuttingDown },
    parts,
  );
  const onSignal = () => stopping.begin();
  const policy = parts.hooks.policy();
  log.info(dryRun ? 'evictd started as a dry run' : 'evictd started', {
    version: buildInfo().version,
    imds: config.imds.endpoint,
    hooks: [...policy.hooks, ...policy.peerHooks].map(({ name }) => name),
    sets: policy.sets.map(({ name }) => name),
  });
  if (isNothingToDo(policy.hooks.length, policy.sets.length))
    log.warn('nothing to do', { detail: NOTHING_TO_DO });
  void notifier.ready(parts.statusLine());
  const { pollInterval, requestTimeout } = config.imds;
  const silentMs = pollInterval + requestTimeout + SILENT_MS;
  notifier.startWatchdog({ isHealthy: () => isHealthy(clock, parts, poller, silentMs) });
  if (signal.aborted) onSignal();
  else signal.addEventListener('abort', onSignal, { once: true });
  try {
    await Promise.race([parts.exited, keepFresh(clock, parts, over.signal)]);
  } finally {
    signal.removeEventListener('abort', onSignal);
    over.abort();
  }
}

async function lockOrSay({ config }: DaemonOptions, { clock, log }: DaemonDependencies) {
  using bound = boundedSignal(clock, LOCK_MS);
  try {
    return await abandonOn(bound.signal, lockState(config.state.dir, bound.signal));
  } catch (error) {
    if (error instanceof EvictdError && error.code === 'already-running') throw error;
    log.warn('state can not be locked, continuing', { detail: messageOf(error) });
    return undefined;
  }
}

function startPolling(
  { config }: DaemonOptions,
  { clock }: DaemonDependencies,
  parts: Assembly,
  metrics: Metrics | undefined,
): Poller {
  const { loop, client, pollLog } = parts;
  return startPoller(
    { intervalMs: config.imds.pollInterval, requestTimeoutMs: config.imds.requestTimeout },
    {
      clock,
      client,
      onPoll: ({ document, dropped, latencyMs }) => {
        metrics?.onGoodPoll(latencyMs);
        pollLog.onGood(dropped);
        loop.send({ kind: 'document', document });
      },
      onFailure: (error) => {
        metrics?.onFailedPoll(error.code);
        pollLog.onFailure(error);
        loop.send({ kind: 'poll-failed' });
      },
    },
  );
}

function openControl(
  { config, dryRun }: DaemonOptions,
  { clock, log }: DaemonDependencies,
  clients: Clients,
  running: () => Running | undefined,
): Promise<ControlServer> {
  const known = () => {
    const now = running();
    if (now !== undefined) return now;
    throw new EvictdError('starting', 'evictd is just starting', { remedy: 'ask again in a moment' });
  };
  const status = () => shownStatus(known(), { clock, dryRun });
  return startControlServer(
    { socket: config.control.socket, group: 'evictd' },
    controlHandlers(
      config,
      clients,
      { clock, log },
      {
        status,
        checkpoints: () => known().parts.checkpoints,
        loop: () => known().parts.loop,
        hooks: () => known().parts.hooks,
      },
    ),
    clients.hub,
  );
}

function followDrain({ dryRun, env }: DaemonOptions, { clock, log }: DaemonDependencies): SystemdDrain {
  if (dryRun || !mayMakeUnits(env)) return NO_SYSTEMD_DRAIN;
  const onFailure = (error: unknown) =>
    log.warn('systemd does not do its part of the drain, continuing', { detail: messageOf(error) });
  return createSystemdDrain({ clock, manager: systemdManager(clock), onFailure });
}

/** Fed to the watchdog: polls are being sent, and what comes in is decided on. */
function isHealthy(clock: Clock, { loop }: Assembly, poller: Poller, silentMs: number): boolean {
  const { lastSentAt } = poller.health();
  return loop.isTurning() && lastSentAt !== undefined && clock.monotonicMs() - lastSentAt < silentMs;
}

/**
 * Hooks may be dropped into hooksDir while the daemon runs; a drain keeps those it began with. And troubles come and
 * go without a change of the state. Never resolves.
 */
async function keepFresh(
  clock: Clock,
  { hooks, loop, tellStatus }: Assembly,
  signal: AbortSignal,
): Promise<void> {
  let holdsStart = true;
  while (!signal.aborted) {
    await sleep(clock, REFRESH_MS, signal).catch(() => undefined);
    tellStatus();
    const isBusy = () => loop.state().drain !== undefined || signal.aborted;
    if (isBusy()) continue;
    if (holdsStart) collectGarbage();
    holdsStart = false;
    await hooks.refresh(isBusy);
  }
}

async function shutDown(
  clock: Clock,
  running: Running | undefined,
  control: ControlServer | undefined,
  notifier: ServiceNotifier,
): Promise<void> {
  notifier.stop();
  if (running === undefined) {
    await control?.close();
    return;
  }
  const { loop, identity, operations, checkpoints, client } = running.parts;
  loop.stop();
  identity.stop();
  using bound = boundedSignal(clock, STOP_MS);
  const late = new Promise<void>((resolve) => bound.signal.addEventListener('abort', () => resolve()));
  // What doesn't end within that time ends with the process.
  const over = Promise.all([running.poller.stop(), operations.stop(), control?.close()]).then(() =>
    checkpoints?.stop(),
  );
  await Promise.race([late, over]);
  await client.close();
}
