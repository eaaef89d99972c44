import { systemClock } from '../base/clock.ts';
import type { Clock } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
import { notifyState, notifyWord } from './notify-program.ts';

/** What systemd sets in a service's environment (sd_notify(3), sd_watchdog_enabled(3)). */
export interface ServiceEnv {
  readonly NOTIFY_SOCKET?: string | undefined;
  readonly WATCHDOG_USEC?: string | undefined;
  readonly WATCHDOG_PID?: string | undefined;
  /** Where the program `systemd-notify` is looked for. */
  readonly PATH?: string | undefined;
}

/**
 * Tells systemd how the service is. All of it is optional to the daemon's work: no promise rejects, each settles
 * within `NOTIFY_MS_MAX` twice (one call in flight, one behind it), and without NOTIFY_SOCKET nothing happens.
 */
export interface ServiceNotifier {
  /** `READY=1` with a status; once the service does its work. */
  ready(status: string): Promise<void>;
  /** The line that `systemctl status` shows. Of several in quick succession only the newest is sent. */
  status(text: string): Promise<void>;
  /** `STOPPING=1`: the service has begun to end. */
  stopping(): Promise<void>;
  /** Asks for this long from now before a start or stop counts as timed out (`EXTEND_TIMEOUT_USEC`). */
  extendTimeout(ms: number): Promise<void>;
  /**
   * Pings the watchdog, now and at a third of its time (`WatchdogSec=`), as long as the daemon says that it is
   * healthy; when it isn't, systemd kills it and starts it again. False when there is no watchdog for this process.
   */
  startWatchdog(health: { isHealthy(): boolean }): boolean;
  /** Ends the pings and everything in flight, and sends nothing any more. */
  stop(): void;
}

export interface NotifierDependencies {
  /** Called for the first failure only; the ones after it say the same. */
  readonly onFailure: (error: EvictdError) => void;
  readonly clock?: Clock;
  readonly pid?: number;
}

/** One call of the program takes about 10 ms; it waits for the manager's answer for 5 s at most. */
export const NOTIFY_MS_MAX = 6000;
const STATUS_MAX = 1000;

/**
 * READY and STATUS go through the npm package `systemd-notify`, which reads NOTIFY_SOCKET from the environment of
 * this process; the rest goes to the same program directly, since the package has no way to say it.
 */
export function createServiceNotifier(
  options: { readonly env: ServiceEnv },
  dependencies: NotifierDependencies,
): ServiceNotifier {
  const { env } = options;
  const { clock = systemClock, pid = process.pid } = dependencies;
  const socket = env.NOTIFY_SOCKET;
  if (socket === undefined || socket === '') return SILENT;

  const stopped = new AbortController();
  let failed = false;
  const guarded = async (send: () => Promise<void>): Promise<void> => {
    try {
      if (!stopped.signal.aborted) await send();
    } catch (error) {
      if (failed || stopped.signal.aborted) return;
      failed = true;
      dependencies.onFailure(asFailure(error));
    }
  };
  const bound = { clock, limitMs: NOTIFY_MS_MAX, signal: stopped.signal };
  const word = (text: string) =>
    guarded(() => notifyWord(text, { NOTIFY_SOCKET: socket, PATH: env.PATH }, bound));
  // One sender for both, so that a late status can't replace the one that READY brings.
  const sendState = latestOnly<{ ready: boolean; status: string }>(
    (state) => guarded(() => notifyState(state, bound)),
    (older, newer) => ({ ready: older.ready || newer.ready, status: newer.status }),
  );
  const sendExtension = latestOnly<string>(word, (_older, newer) => newer);
  const sendPing = latestOnly<string>(word, (_older, newer) => newer);
  let pings: Disposable | undefined;

  return {
    ready: (status) => sendState({ ready: true, status: oneLine(status) }),
    status: (text) => sendState({ ready: false, status: oneLine(text) }),
    stopping: () => word('STOPPING=1'),
    extendTimeout: (ms) => sendExtension(`EXTEND_TIMEOUT_USEC=${Math.round(ms * 1000)}`),
    startWatchdog(health) {
      const intervalMs = watchdogMs(env, pid) / 3;
      if (!Number.isFinite(intervalMs) || stopped.signal.aborted) return false;
      pings?.[Symbol.dispose]();
      pings = every(clock, intervalMs, () => {
        if (health.isHealthy()) void sendPing('WATCHDOG=1');
      });
      return true;
    },
    stop() {
      pings?.[Symbol.dispose]();
      stopped.abort(new EvictdError('stopped', 'the service notifier was stopped'));
    },
  };
}

const SILENT: ServiceNotifier = {
  ready: () => Promise.resolve(),
  status: () => Promise.resolve(),
  stopping: () => Promise.resolve(),
  extendTimeout: () => Promise.resolve(),
  startWatchdog: () => false,
  stop: () => undefined,
};

/** The watchdog's time; Infinity when there is none, or when it is another process's (sd_watchdog_enabled(3)). */
function watchdogMs(env: ServiceEnv, pid: number): number {
  if (env.WATCHDOG_PID !== undefined && env.WATCHDOG_PID !== String(pid)) return Infinity;
  const usec = /^\d{1,15}$/.test(env.WATCHDOG_USEC ?? '') ? Number(env.WATCHDOG_USEC) : 0;
  return usec > 0 ? usec / 1000 : Infinity;
}

/** In a notification each line is an assignment of its own, so a status must not bring another one. */
function oneLine(text: string): string {
  return text.replace(/\p{Cc}+/gu, ' ').slice(0, STATUS_MAX);
}

function asFailure(error: unknown): EvictdError {
  return new EvictdError('systemd-notify', 'systemd could not be told about the state of the service', {
    remedy: 'check that the program systemd-notify is installed and that the unit has NotifyAccess=all',
    cause: error,
  });
}

/** At most one call at a time; what arrives meanwhile is merged into one that follows. */
function latestOnly<T>(
  send: (value: T) => Promise<void>,
  merge: (older: T, newer: T) => T,
): (value: T) => Promise<void> {
  let running: Promise<void> | undefined;
  let queued: { value: T } | undefined;
  const drain = async (): Promise<void> => {
    while (queued !== undefined) {
      const { value } = queued;
      queued = undefined;
      await send(value);
    }
    running = undefined;
  };
  return (value) => {
    queued = { value: queued === undefined ? value : merge(queued.value, value) };
    running ??= drain();
    return running;
  };
}

/** Calls `work` now and then every `intervalMs` on a fixed schedule; one that is late doesn't shift the next. */
function every(clock: Clock, intervalMs: number, work: () => void): Disposable {
  let nextAt = clock.monotonicMs();
  let timer: Disposable | undefined;
  const turn = (): void => {
    nextAt = Math.max(nextAt + intervalMs, clock.monotonicMs());
    timer = clock.timer(nextAt - clock.monotonicMs(), turn);
    work();
  };
  turn();
  return { [Symbol.dispose]: () => timer?.[Symbol.dispose]() };
}
