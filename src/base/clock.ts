/** Milliseconds of CLOCK_MONOTONIC: since boot, one scale for all processes of a boot, never stepped. */
export type MonotonicMs = number;
/** Milliseconds since the Unix epoch by some wall clock; which one (guest, server) is said where it is used. */
export type WallMs = number;

/** The two clocks. Only this file reads them; everything else gets a `Clock`. */
export interface Clock {
  monotonicMs(): MonotonicMs;
  wallMs(): WallMs;
  /** Calls `fire` once after `delayMs`; disposing it first cancels the call. */
  timer(delayMs: number, fire: () => void): Disposable;
}

// setTimeout fires at once for anything above 2^31-1 ms.
const TIMER_MS_MAX = 2 ** 31 - 1;

export const systemClock: Clock = {
  // hrtime is CLOCK_MONOTONIC itself; performance.now() counts from the start of the process,
  // so a deadline written to the journal would mean nothing after a restart.
  monotonicMs: () => Number(process.hrtime.bigint() / 1000n) / 1000,
  wallMs: () => Date.now(),
  timer(delayMs, fire) {
    const handle = setTimeout(fire, Math.min(Math.max(delayMs, 0), TIMER_MS_MAX));
    return { [Symbol.dispose]: () => clearTimeout(handle) };
  },
};
