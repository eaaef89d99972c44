import type { Clock, MonotonicMs } from '../base/clock.ts';

/** How many requests may be under way at once, found out while they are. */
export interface RequestRoom {
  readonly size: number;
  /** A request that went out at `startedAt` was refused by a server that has too much to do. */
  shrink(startedAt: MonotonicMs): void;
  /** An answer came after `tookMs`; `isWanted`: somebody waits for room. */
  noteAnswer(tookMs: number, isWanted: boolean): void;
}

/**
 * Each request under way has a connection, and opening one over TLS takes 2 ms of CPU. Where answers come at once a few
 * keep both sides busy; where each one takes its 20 ms, only their number counts.
 */
const ROOM_AT_FIRST = 12;
/** An answer that took no more than so many times the quickest one has not waited for others. */
const UNHINDERED = 2;
/** A request without an answer for so long gives its room to others, who may have better luck on another connection. */
export const STALLED_MS = 2000;

/** 503 ServerBusy, and 429 of what stands before it. */
export function isRefused({ status }: { readonly status: number }): boolean {
  return status === 503 || status === 429;
}

/*
 * INVARIANTS
 * - The room grows by one with each answer that came unhindered while somebody waited, so it doubles with every round
 *   trip as long as latency is what takes the time. Once the processor or the network is, it stays.
 * - A refusal halves the room, once for all requests that were under way then; after that it grows by one with each
 *   round trip. So many clients of one server share what it can do.
 */
export function createRequestRoom(
  { roomMax }: { readonly roomMax: number },
  { clock }: { readonly clock: Clock },
): RequestRoom {
  let room = Math.min(ROOM_AT_FIRST, roomMax);
  let quickestMs = Infinity;
  let shrunkAt = -Infinity;
  return {
    get size() {
      return Math.floor(room);
    },
    shrink(startedAt) {
      if (startedAt < shrunkAt) return;
      shrunkAt = clock.monotonicMs();
      room = Math.max(1, room / 2);
    },
    noteAnswer(tookMs, isWanted) {
      quickestMs = Math.min(quickestMs, tookMs);
      if (!isWanted || tookMs > quickestMs * UNHINDERED) return;
      room = Math.min(room + (shrunkAt === -Infinity ? 1 : 1 / room), roomMax);
    },
  };
}
