import { reasonOf } from '../base/abort.ts';
import type { Clock, MonotonicMs } from '../base/clock.ts';

/** How many requests go out at once, found out while they do. */
export interface RequestWindow {
  /**
   * Runs `request` when there is room for it; `isRefused` tells answers of a server that has too much to do.
   * Rejects with the signal's reason when that comes first.
   */
  run<T>(signal: AbortSignal, request: () => Promise<T>, isRefused?: (answer: T) => boolean): Promise<T>;
}

/**
 * Each request under way has a connection, and opening one over TLS takes 2 ms of CPU. Where answers come at once a few
 * keep both sides busy; where each one takes its 20 ms, only their number counts.
 */
const ROOM_AT_FIRST = 24;
/** An answer that took no more than so many times the quickest one has not waited for others. */
const UNHINDERED = 2;
/** A request without an answer for so long gives its room to others, who may have better luck on another connection. */
const STALLED_MS = 2000;

/*
 * INVARIANTS
 * - Never more than `roomMax` requests under way, stalled ones aside; who waits gets in in the order of asking.
 * - The room grows by one with each answer that came unhindered while somebody waited, so it doubles with every round
 *   trip as long as latency is what takes the time. Once the processor or the network is, it stays.
 * - A refusal halves the room, once for all requests that were under way then; after that it grows by one with each
 *   round trip. So many clients of one server share what it can do.
 */
export function createRequestWindow(
  options: { readonly roomMax: number },
  dependencies: { readonly clock: Clock },
): RequestWindow {
  const { clock } = dependencies;
  const waiting: (() => void)[] = [];
  const room = createRoom(options.roomMax, clock);
  let inside = 0;

  const admit = () => {
    while (inside < room.size() && waiting.length > 0) {
      inside++;
      waiting.shift()?.();
    }
  };
  const enter = (signal: AbortSignal): Promise<void> => {
    if (signal.aborted) return Promise.reject(reasonOf(signal));
    if (inside < room.size()) {
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
    async run(signal, request, isRefused = () => false) {
      await enter(signal);
      const startedAt = clock.monotonicMs();
      let isInside = true;
      const leave = () => {
        if (!isInside) return;
        isInside = false;
        inside--;
        admit();
      };
      using _stalled = clock.timer(STALLED_MS, leave);
      try {
        const answer = await request();
        if (isRefused(answer)) room.shrink(startedAt);
        else room.noteAnswer(clock.monotonicMs() - startedAt, waiting.length > 0);
        return answer;
      } finally {
        leave();
      }
    },
  };
}

function createRoom(roomMax: number, clock: Clock) {
  let room = Math.min(ROOM_AT_FIRST, roomMax);
  let quickestMs = Infinity;
  let shrunkAt = -Infinity;
  return {
    size: () => Math.floor(room),
    /** A request that went out at `startedAt` was refused. */
    shrink(startedAt: MonotonicMs) {
      if (startedAt < shrunkAt) return;
      shrunkAt = clock.monotonicMs();
      room = Math.max(1, room / 2);
    },
    noteAnswer(tookMs: number, isWanted: boolean) {
      quickestMs = Math.min(quickestMs, tookMs);
      if (!isWanted || tookMs > quickestMs * UNHINDERED) return;
      room = Math.min(room + (shrunkAt === -Infinity ? 1 : 1 / room), roomMax);
    },
  };
}
