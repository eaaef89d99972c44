import { type Clock, systemClock } from '../../src/base/clock.ts';

/** CLOCK_MONOTONIC as it would be, had it run `rate` times as fast since `startedNs`. The same in all processes. */
export function fastNs(nowNs: bigint, startedNs: bigint, rate: number): bigint {
  return startedNs + (nowNs - startedNs) * BigInt(rate);
}

/** Both clocks and the timers run so many times as fast: for what surrounds the daemon. */
export function fastClock(startedNs: bigint, rate: number): Clock {
  const monotonicMs = () => Number(fastNs(process.hrtime.bigint(), startedNs, rate)) / 1e6;
  const wallOffsetMs = systemClock.wallMs() - monotonicMs();
  return {
    monotonicMs,
    wallMs: () => Math.round(wallOffsetMs + monotonicMs()),
    timer: (delayMs, fire) => systemClock.timer(delayMs / rate, fire),
  };
}
