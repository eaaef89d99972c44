import { sleep } from '../../base/abort.ts';
import type { Clock } from '../../base/clock.ts';

/** Spreads work that nobody waits for over time. */
export interface Pace {
  /** Waits until `bytes` may go; rejects with the signal's reason. Those who wait go in the order of asking. */
  take(bytes: number, signal: AbortSignal): Promise<void>;
}

/** Over any span of time no more than `bytesPerSecond`, and what was asked for at once. */
export function createPace(
  { bytesPerSecond }: { readonly bytesPerSecond: number },
  { clock }: { readonly clock: Clock },
): Pace {
  let freeAt = -Infinity;
  return {
    async take(bytes, signal) {
      const now = clock.monotonicMs();
      const startAt = Math.max(now, freeAt);
      freeAt = startAt + (bytes / bytesPerSecond) * 1000;
      if (startAt > now) await sleep(clock, startAt - now, signal);
    },
  };
}
