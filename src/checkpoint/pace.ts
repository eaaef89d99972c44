import { sleep } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import type { Transfer } from './transfer.ts';

/** Spreads work that nobody waits for over time. */
export interface Pace {
  /** Waits until `bytes` may go; rejects with the signal's reason. Those who wait go in the order of asking. */
  take(bytes: number, signal: AbortSignal): Promise<void>;
}

/** Over any span of time no more than `bytesPerSecond`, and one block. */
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

/** Comparing takes a quarter of the processor time of sending, and as much of the disk's. */
const COMPARED_PER_SENT = 4;

/**
 * The same transfer, at that pace: content is read no faster than it may be sent, or some times that where it is only
 * compared. This is what keeps the background's share of disk and processor low. A low priority of its threads would
 * not: among control groups the weight of the group decides, which is high for the sake of the drain; and raising it
 * again at the notice is a privilege.
 * Once `giveWay` is aborted nobody waits for the pace any more, so that what is under way can end.
 */
export function pacedTransfer(transfer: Transfer, pace: Pace, giveWay: AbortSignal): Transfer {
  const take = async (bytes: number) => {
    if (!giveWay.aborted) await pace.take(bytes, giveWay).catch(() => undefined);
  };
  return {
    hold: async (bytes, signal) => {
      await take(bytes);
      return transfer.hold(bytes, signal);
    },
    compare: (bytes) => take(bytes / COMPARED_PER_SENT),
    memory: (bytes) => transfer.memory(bytes),
    smallMemory: () => transfer.smallMemory(),
    reuse: (memory) => transfer.reuse(memory),
    request: (signal, run) => transfer.request(signal, run),
    send: (bytes, run) => transfer.send(bytes, run),
    get bytesPerSecond() {
      return transfer.bytesPerSecond;
    },
    withRank: (rank) => pacedTransfer(transfer.withRank(rank), pace, giveWay),
  };
}
