/**
 * Loaded into the daemon before its own code (`--import`): its monotonic clock and its timers run ENDURANCE_RATE times
 * as fast, and it says over its IPC channel what nothing outside can see. Wall time stays as it is, since the times of
 * files are by it. Its threads have the same clock, and timers as they are: they wait for this machine. With
 * ENDURANCE_LEAK a timer and a descriptor are left behind by each program that is started.
 */
import { subscribe } from 'node:diagnostics_channel';
import { openSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { getHeapSpaceStatistics } from 'node:v8';
import workerThreads, { type WorkerOptions, isMainThread } from 'node:worker_threads';

import { fastNs } from './fast-clock.ts';

const LONG_MS = 2 ** 31 - 1;
const rate = Number(process.env['ENDURANCE_RATE']);
const startedNs = BigInt(process.env['ENDURANCE_STARTED_NS'] ?? 0);
const realNs = process.hrtime.bigint.bind(process.hrtime);
process.hrtime.bigint = () => fastNs(realNs(), startedNs, rate);

/** Also those that keep nothing alive, of which Node doesn't tell. */
const timers = new Set<NodeJS.Timeout>();

if (isMainThread) {
  quickenTimers();
  quickenThreads();
  process.on('message', () => process.send?.(look()));
  // It must not keep the daemon from ending, nor the daemon outlive whoever looks.
  process.channel?.unref();
  process.on('disconnect', () => process.exit(1));
  if (process.env['ENDURANCE_LEAK'] !== undefined) subscribe('tracing:child_process.spawn:end', leak);
}

function look() {
  globalThis.gc?.();
  const { external } = process.memoryUsage();
  const spaces = getHeapSpaceStatistics();
  const used = (isWanted: (name: string) => boolean) =>
    spaces.reduce((sum, one) => sum + (isWanted(one.space_name) ? one.space_used_size : 0), 0);
  const isCode = (name: string) => /^(?:code|trusted)_/.test(name);
  const resources = process.getActiveResourcesInfo().filter((name) => name !== 'Timeout');
  const heap = used((name) => !isCode(name));
  return { heap, code: used(isCode), external, timers: timers.size, resources: resources.length };
}

function leak(): void {
  setTimeout(() => undefined, LONG_MS);
  openSync('/dev/null', 'r');
}

function quickenTimers(): void {
  const arm = setTimeout;
  const disarm = clearTimeout;
  Object.assign(globalThis, {
    setTimeout(fire: (...values: unknown[]) => void, delayMs = 0, ...values: unknown[]) {
      const timer = arm(() => {
        timers.delete(timer);
        fire(...values);
      }, delayMs / rate);
      timers.add(timer);
      return timer;
    },
    clearTimeout(timer: NodeJS.Timeout | undefined) {
      if (timer !== undefined) timers.delete(timer);
      disarm(timer);
    },
  });
}

/** What is loaded before a program isn't loaded in its threads, as far as those are started from a text. */
function quickenThreads(): void {
  const quicken = `{
    const realNs = process.hrtime.bigint.bind(process.hrtime);
    process.hrtime.bigint = () => ${startedNs}n + (realNs() - ${startedNs}n) * ${rate}n;
  }`;
  const { Worker } = workerThreads;
  workerThreads.Worker = class extends Worker {
    constructor(program: string | URL, options: WorkerOptions = {}) {
      if (options.eval !== true) throw new Error('a thread that is started from a file has another clock');
      super(quicken + String(program), options);
    }
  };
  syncBuiltinESMExports();
}
