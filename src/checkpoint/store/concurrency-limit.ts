import { reasonOf } from '../../base/abort.ts';
import type { Clock } from '../../base/clock.ts';

/** How many requests may be under way at once, found out while they are. */
export interface ConcurrencyLimit {
  /**
   * Waits until another request may go out; who waits gets in in the order of asking. A request that has no answer
   * `stalledMs` later than most gives its permit to others, who may have better luck on another connection.
   * Rejects with the signal's reason when that comes first.
   */
  acquire(stalledMs: number, signal: AbortSignal): Promise<Permit>;
}

/** Release it exactly once. */
export interface Permit {
  /** `refused`: by a server that has too much to do; `failed`: it says nothing about how much that can do. */
  release(how: 'answered' | 'refused' | 'failed'): void;
}

/**
 * Each request under way has a connection, and opening one over TLS takes 2 ms of CPU. Where answers come at once a few
 * keep both sides busy; where each one takes its 20 ms, only their number counts.
 */
const PERMITS_AT_FIRST = 12;
/** An answer that took no more than so many times the quickest one has not waited for others. */
const UNHINDERED = 2;
const STALLED_MS = 2000;

/*
 * INVARIANTS
 * - Never more than `requestsMax` requests under way, stalled ones aside.
 * - The limit grows by one with each answer that came unhindered while somebody waited, so it doubles with every round
 *   trip as long as latency is what takes the time. Once the processor or the network is, it stays.
 * - A refusal halves the limit, once for all requests that were under way then; after that it grows by one with each
 *   round trip. So many clients of one server share what it can do.
 */
export function createConcurrencyLimit(
  { requestsMax }: { readonly requestsMax: number },
  { clock }: { readonly clock: Clock },
): ConcurrencyLimit {
  const waiting: (() => void)[] = [];
  let limit = Math.min(PERMITS_AT_FIRST, requestsMax);
  let inside = 0;
  let quickestMs = Infinity;
  let shrunkAt = -Infinity;

  const admit = () => {
    while (inside < Math.floor(limit) && waiting.length > 0) {
      inside++;
      waiting.shift()?.();
    }
  };
  const wait = (signal: AbortSignal): Promise<void> =>
    new Promise((resolve, reject) => {
      const onAbort = () => {
        waiting.splice(waiting.indexOf(onPermit), 1);
        reject(reasonOf(signal));
      };
      const onPermit = () => {
        signal.removeEventListener('abort', onAbort);
        resolve();
      };
      waiting.push(onPermit);
      signal.addEventListener('abort', onAbort, { once: true });
      admit();
    });
  const adapt = (how: 'answered' | 'refused', startedAt: number) => {
    const now = clock.monotonicMs();
    if (how === 'refused') {
      if (startedAt < shrunkAt) return;
      shrunkAt = now;
      limit = Math.max(1, limit / 2);
      return;
    }
    quickestMs = Math.min(quickestMs, now - startedAt);
    if (waiting.length === 0 || now - startedAt > quickestMs * UNHINDERED) return;
    limit = Math.min(limit + (shrunkAt === -Infinity ? 1 : 1 / limit), requestsMax);
  };

  return {
    async acquire(stalledMs, signal) {
      if (signal.aborted) throw reasonOf(signal);
      await wait(signal);
      const startedAt = clock.monotonicMs();
      let isInside = true;
      const giveBack = () => {
        if (!isInside) return;
        isInside = false;
        inside--;
        admit();
      };
      const stalled = clock.timer(STALLED_MS + stalledMs, giveBack);
      return {
        release(how) {
          stalled[Symbol.dispose]();
          if (how !== 'failed') adapt(how, startedAt);
          giveBack();
        },
      };
    },
  };
}
