import { boundedSignal, sleep } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { buildInfo } from '../base/version.ts';
import { type ControlServer, startControlServer } from '../control/server.ts';
import { type Poller, startPoller } from '../imds/poller.ts';
import { type ServiceNotifier, createServiceNotifier } from '../observe/systemd.ts';
import { type Assembly, type DaemonDependencies, type DaemonOptions, assemble } from './assemble.ts';
import { statusLine } from './status-line.ts';
import { statusOf } from './status.ts';
import { controlHandlers } from './wire-control.ts';

const HOOKS_REFRESH_MS = 5000;
/** A poll that was not even sent for so long means that the schedule stands still. */
const SILENT_MS = 15_000;
const STOP_MS = 5000;

/**
 * The daemon, until the signal asks it to stop and the drain that may be under way is over. READY is told once the
 * journal is read, the first poll is out and the control socket is open: the first answer may take two minutes.
 * Rejects `already-running` and `control-unusable`; every other trouble is said and survived.
 */
export async function runDaemon(
  options: DaemonOptions,
  dependencies: DaemonDependencies,
  signal: AbortSignal,
): Promise<void> {
  const { clock, log } = dependencies;
  const { dryRun, env, config } = options;
  const notifier = createServiceNotifier(
    { env: dryRun ? {} : env },
    {
      clock,
      onFailure: ({ message }) => log.warn('systemd can not be told, continuing', { detail: message }),
    },
  );
  const parts = await assemble(options, dependencies, notifier);
  const poller = startPolling(options, dependencies, parts);
  const stopping = new AbortController();
  const onSignal = () => {
    log.info('asked to stop', { draining: parts.loop.state().drain !== undefined });
    void notifier.stopping();
    parts.loop.send({ kind: 'stop-requested' });
  };
  let control: ControlServer | undefined;
  try {
    control = dryRun ? undefined : await openControl(options, dependencies, parts, poller);
    log.info(dryRun ? 'evictd started as a dry run' : 'evictd started', {
      version: buildInfo().version,
      imds: config.imds.endpoint,
      hooks: parts.hooks.policy().hooks.map(({ name }) => name),
      sets: parts.hooks.policy().sets.map(({ name }) => name),
    });
    void notifier.ready(statusLine(parts.loop.state()));
    notifier.startWatchdog({ isHealthy: () => isHealthy(clock, parts, poller) });
    if (signal.aborted) onSignal();
    else signal.addEventListener('abort', onSignal, { once: true });
    await Promise.race([parts.exited, keepHooksFresh(clock, parts, stopping.signal)]);
  } finally {
    signal.removeEventListener('abort', onSignal);
    stopping.abort();
    await shutDown(clock, parts, poller, control, notifier);
    log.info('evictd stopped');
  }
}

function startPolling({ config }: DaemonOptions, { clock }: DaemonDependencies, parts: Assembly): Poller {
  const { loop, client, pollLog } = parts;
  return startPoller(
    { intervalMs: config.imds.pollInterval, requestTimeoutMs: config.imds.requestTimeout },
    {
      clock,
      client,
      onPoll: ({ document, dropped }) => {
        pollLog.onGood(dropped);
        loop.send({ kind: 'document', document });
      },
      onFailure: (error) => {
        pollLog.onFailure(error);
        loop.send({ kind: 'poll-failed' });
      },
    },
  );
}

function openControl(
  { config, dryRun }: DaemonOptions,
  { clock }: DaemonDependencies,
  { loop, checkpoints, pollLog }: Assembly,
  poller: Poller,
): Promise<ControlServer> {
  const status = () =>
    statusOf({
      now: clock.monotonicMs(),
      wallNow: clock.wallMs(),
      state: loop.state(),
      evictdVersion: buildInfo().version,
      dryRun,
      poll: poller.health(),
      lastError: pollLog.lastError(),
      progress: checkpoints?.progress() ?? [],
      upload: checkpoints?.estimate(),
      store: checkpoints?.status(),
    });
  return startControlServer(
    { socket: config.control.socket, group: 'evictd' },
    controlHandlers(config, { status, checkpoints }),
  );
}

/** Fed to the watchdog: polls are being sent, and what comes in is decided on. */
function isHealthy(clock: Clock, { loop }: Assembly, poller: Poller): boolean {
  const { lastSentAt } = poller.health();
  return loop.isTurning() && lastSentAt !== undefined && clock.monotonicMs() - lastSentAt < SILENT_MS;
}

/** Hooks may be dropped into hooksDir while the daemon runs; a drain keeps those it began with. Never resolves. */
async function keepHooksFresh(clock: Clock, { hooks, loop }: Assembly, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await sleep(clock, HOOKS_REFRESH_MS, signal).catch(() => undefined);
    if (loop.state().drain === undefined && !signal.aborted) await hooks.refresh();
  }
}

async function shutDown(
  clock: Clock,
  { loop, identity, operations, checkpoints, client }: Assembly,
  poller: Poller,
  control: ControlServer | undefined,
  notifier: ServiceNotifier,
): Promise<void> {
  loop.stop();
  identity.stop();
  notifier.stop();
  using bound = boundedSignal(clock, STOP_MS);
  const late = new Promise<void>((resolve) => bound.signal.addEventListener('abort', () => resolve()));
  // What doesn't end within that time ends with the process.
  const over = Promise.all([poller.stop(), operations.stop(), control?.close()]).then(() =>
    checkpoints?.stop(),
  );
  await Promise.race([late, over]);
  await client.close();
}
