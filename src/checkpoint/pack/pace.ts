import { reasonOf } from '../../base/abort.ts';
import type { Clock, MonotonicMs } from '../../base/clock.ts';
import type { Courier } from './courier.ts';

/** Encrypting and sending have this thread only: when so much was read, or for so long, they get their turn. */
const TURN_BYTES = 1024 ** 2;
const TURN_MS = 2;

/** When reading stops for a moment, so that what shares its thread has its turn. */
export interface Pace {
  /** How often it has stopped so far. */
  readonly stops: number;
  /** So many bytes were read, and it is now `now`: is it time to stop? */
  isDue(bytes: number, now: number): boolean;
  /** Lets others have their turn. Rejects with the signal's reason, or with what a pack failed with. */
  turn(): Promise<void>;
  /** Waits until another pack may be sent. Rejects as `turn` does. */
  room(): Promise<void>;
}

export function createPace(courier: Courier, clock: Clock, signal: AbortSignal): Pace {
  let stops = 0;
  let bytes = 0;
  let since: MonotonicMs = clock.monotonicMs();
  const goOn = () => {
    bytes = 0;
    since = clock.monotonicMs();
    if (signal.aborted) throw reasonOf(signal);
    if (courier.failure !== undefined) throw courier.failure;
  };
  return {
    get stops() {
      return stops;
    },
    isDue(more, now) {
      bytes += more;
      return bytes >= TURN_BYTES || now - since >= TURN_MS;
    },
    async turn() {
      stops++;
      await new Promise((resolve) => setImmediate(resolve));
      goOn();
    },
    async room() {
      stops++;
      await roomIn(courier, signal);
      goOn();
    },
  };
}

/** Rejects with what a pack failed with, or with the signal's reason. */
export async function roomIn(courier: Courier, signal: AbortSignal): Promise<void> {
  while (!courier.hasRoom && courier.failure === undefined) await courier.progress(signal);
  if (courier.failure !== undefined) throw courier.failure;
}
