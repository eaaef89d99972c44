import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { childController } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
import { formatDuration } from '../base/units.ts';
import type { Config } from '../config/schema.ts';
import { askDaemon } from '../control/client.ts';
import { followEvents } from '../control/follow-events.ts';
import { REGISTERED } from '../control/protocol.ts';
import { canMakeUnits } from '../hooks/manager.ts';
import { readBootId } from '../journal/journal.ts';
import { lockState } from '../journal/state-lock.ts';
import { instanceWithoutDaemon } from './checkpoint-once.ts';
import type { DrillDependencies } from './drill-dependencies.ts';
import { openDrillEngine } from './drill-engine.ts';
import { type DrillResult, drillResult } from './drill-result.ts';
import { isRealNotice, realNotice } from './real-notice.ts';
import { type Rehearsal, rehearse } from './rehearse.ts';
import type { Status } from './status.ts';

export interface DrillOptions {
  readonly config: Config;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The pretended notice, in place of `window.notice`. */
  readonly noticeMs: number | undefined;
}

const ASK_MS = 5000;

/**
 * Rehearses an eviction: the real hooks, the real bytes, the real decisions, a mock in place of the metadata service.
 * Afterwards the `on-resume` hooks run, also after an interruption, and what was stored for it is removed. A real notice,
 * which the running daemon tells of, ends it at once.
 * Rejects `drill-refused`, `drill-under-way`, `real-notice`, `interrupted`, and with why the store can't be used.
 */
export async function runDrill(
  options: DrillOptions,
  dependencies: DrillDependencies,
  signal: AbortSignal,
): Promise<DrillResult> {
  const { config } = options;
  const { clock } = dependencies;
  const windowMs = checkedWindow(options);
  await using _lock = await lock(config.state.dir, signal);
  const daemon = await statusOfDaemon(config.control.socket, signal);
  if (daemon?.drain !== undefined) {
    throw new EvictdError(
      'drill-refused',
      `evictd is draining (${daemon.phase}); this is no time for a drill`,
    );
  }
  using real = childController(signal);
  void watchForNotice(config.control.socket, clock, real);
  try {
    const { rehearsal, store, leftBehind } = await drillNow(
      options,
      dependencies,
      daemon,
      windowMs,
      real.signal,
    );
    const isDaemonRunning = daemon !== undefined;
    const timeouts = new Map(config.hooks.map(({ name, timeout }) => [name, timeout]));
    const facts = { timeouts, isDaemonRunning, notPart: notPart(config, daemon) };
    return drillResult({ rehearsal, store, leftBehind, ...facts });
  } finally {
    real.abort();
  }
}

async function drillNow(
  { config, env }: DrillOptions,
  dependencies: DrillDependencies,
  daemon: Status | undefined,
  windowMs: number,
  signal: AbortSignal,
): Promise<{ rehearsal: Rehearsal; store: string | undefined; leftBehind: string | undefined }> {
  const bootId = await readBootId();
  await using temporary = await temporaryFolder();
  const folder = temporary.path;
  using identity = instanceWithoutDaemon(config, bootId);
  const { instance } = identity;
  const { name: vmName } = await instance(signal);
  const { checkpoint } = config;
  const sources = { config, bootId, instance, indexDirectory: folder };
  const engine =
    checkpoint === undefined
      ? undefined
      : await openDrillEngine({ ...sources, checkpoint }, dependencies, signal);
  let leftBehind: string | undefined;
  let rehearsal: Rehearsal;
  try {
    const asUnits = canMakeUnits();
    const bytesPerSecond = daemon?.upload.bytesPerSecond;
    const facts = { config, env, vmName, bootId, windowMs, asUnits, folder, bytesPerSecond };
    rehearsal = await rehearse(facts, { ...dependencies, engine }, signal);
  } finally {
    leftBehind = await engine?.cleanUp(isRealNotice(signal));
    if (leftBehind !== undefined) dependencies.onProgress(leftBehind);
  }
  return { rehearsal, store: engine?.store.describe, leftBehind };
}

function checkedWindow({ config, noticeMs }: DrillOptions): number {
  const windowMs = noticeMs ?? config.window.notice;
  if (windowMs <= config.window.reserve) {
    throw new EvictdError(
      'usage',
      `a notice of ${formatDuration(windowMs)} is no longer than window.reserve`,
      {
        remedy: `give --notice more than ${formatDuration(config.window.reserve)}`,
      },
    );
  }
  if (config.events.types['Preempt']?.drain !== true) {
    throw new EvictdError('drill-refused', 'the config says that a Preempt is not drained for', {
      remedy: 'set events.Preempt.drain to true',
    });
  }
  return windowMs;
}

/** One drill at a time on a machine: it holds a folder in state.dir, where nobody else can hold anything. */
async function lock(stateDir: string, signal: AbortSignal): Promise<AsyncDisposable> {
  try {
    return await lockState(join(stateDir, 'drill'), signal);
  } catch (error) {
    if (!(error instanceof EvictdError) || error.code !== 'already-running') throw error;
    throw new EvictdError('drill-under-way', 'another drill is under way on this machine');
  }
}

async function temporaryFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'evictd-drill-'));
  // A journal that is still being written when the rehearsal is over puts its file there.
  const options = { recursive: true, force: true, maxRetries: 10, retryDelay: 50 };
  return { path, [Symbol.asyncDispose]: () => rm(path, options) };
}

/** Undefined when it isn't running. */
async function statusOfDaemon(socket: string, signal: AbortSignal): Promise<Status | undefined> {
  try {
    // The daemon is of the same build.
    return (await askDaemon(socket, 'GET', '/v1/status', { timeoutMs: ASK_MS, signal })) as Status;
  } catch (error) {
    if (error instanceof EvictdError && error.code === 'not-running') return undefined;
    throw error;
  }
}

/** Aborts when the daemon tells of a real notice. Without a daemon there is nobody who would drain for one. */
async function watchForNotice(socket: string, clock: Clock, real: AbortController): Promise<void> {
  const events = followEvents(
    socket,
    { method: 'GET', path: '/v1/events' },
    { awayMs: Infinity, onLost: () => undefined },
    { clock },
    real.signal,
  );
  try {
    for await (const { event } of events) {
      if (event === 'notice') {
        real.abort(realNotice());
      }
    }
  } catch (error) {
    // There is no daemon (any more), or the drill is over.
    if (!(error instanceof EvictdError) && !real.signal.aborted) throw error;
  }
}

function notPart(config: Config, daemon: Status | undefined): string[] {
  const registered = daemon?.hooks.filter(({ name }) => name.startsWith(REGISTERED)) ?? [];
  return [
    ...registered.map(({ name }) => `the hook ${name}, which a program has registered`),
    ...config.notify.map(({ name }) => `the notification ${name}`),
    ...(canMakeUnits() ? ['what evictd-preempt.target starts'] : []),
  ];
}
