import type { Clock } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';

/** How many requests go out at once, found out while they do. */
export interface RequestWindow {
  /** Runs `request` when there is room for it. Rejects with the signal's reason when that comes first. */
  run<T>(signal: AbortSignal, request: () => Promise<T>): Promise<T>;
}

/**
 * Each request under way has a connection, and opening one over TLS takes 2 ms of CPU. Where answers come at once a few
 * keep both sides busy; where each one takes its 20 ms, only their number counts.
 */
const ROOM_AT_FIRST = 12;
/** An answer that took no more than so many times the quickest one has not waited for others. */
const UNHINDERED = 2;

/*
 * INVARIANTS
 * - Never more than `roomMax` requests under way; who waits gets in in the order of asking.
 * - The room grows by one with each answer that came unhindered while somebody waited, so it doubles with every round
 *   trip as long as latency is what takes the time. Once the processor or the network is, it stays.
 */
export function createRequestWindow(
  options: { readonly roomMax: number },
  dependencies: { readonly clock: Clock },
): RequestWindow {
  const { clock } = dependencies;
  const waiting: (() => void)[] = [];
  let room = Math.min(ROOM_AT_FIRST, options.roomMax);
  let inside = 0;
  let quickestMs = Infinity;

  const admit = () => {
    while (inside < room && waiting.length > 0) {
      inside++;
      waiting.shift()?.();
    }
  };
  const enter = (signal: AbortSignal): Promise<void> => {
    if (signal.aborted) return Promise.reject(reasonOf(signal));
    if (inside < room) {
      inside++;
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        waiting.splice(waiting.indexOf(onRoom), 1);
        reject(reasonOf(signal));
      };
      const onRoom = () => {
        signal.removeEventListener('abort', onAbort);
        resolve();
      };
      waiting.push(onRoom);
      signal.addEventListener('abort', onAbort, { once: true });
    });
  };

  return {
    async run(signal, request) {
      await enter(signal);
      const startedAt = clock.monotonicMs();
      try {
        const answer = await request();
        const tookMs = clock.monotonicMs() - startedAt;
        quickestMs = Math.min(quickestMs, tookMs);
        if (waiting.length > 0 && tookMs <= quickestMs * UNHINDERED)
          room = Math.min(room + 1, options.roomMax);
        return answer;
      } finally {
        inside--;
        admit();
      }
    },
  };
}

function reasonOf(signal: AbortSignal): Error {
  return signal.reason instanceof Error ? signal.reason : new EvictdError('aborted', String(signal.reason));
}
