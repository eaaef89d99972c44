import type { Clock } from '../base/clock.ts';
import { createGate } from '../base/concurrency.ts';
import { BLOCK_BYTES_DEFAULT } from './block-size.ts';
import { createRateMeter } from './progress.ts';

/** What all sets of a process share: how much is under way at once, and how fast it goes. */
export interface Transfer {
  /**
   * Waits until `bytes` more may be held in memory and hands out a buffer for them.
   * The holder gives it back by `release`; `spoiled` when a request that was given it may still be reading from it.
   */
  buffer(bytes: number, signal: AbortSignal): Promise<BlockBuffer>;
  /** Runs a request that carries no content worth counting, when there is a place for it. */
  request<T>(signal: AbortSignal, run: () => Promise<T>): Promise<T>;
  /** Runs a request that carries `bytes` of content, on a place that its buffer already holds. */
  send<T>(bytes: number, run: () => Promise<T>): Promise<T>;
  readonly bytesPerSecond: number | undefined;
}

export interface BlockBuffer {
  readonly bytes: Buffer;
  release(state: 'clean' | 'spoiled'): void;
}

export interface TransferLimits {
  readonly requestsMax: number;
  /** Content held in memory, over all sets. */
  readonly bytesMax: number;
}

/** 8 blocks of 4 MiB, or 32 small requests: with latency only the number of requests under way counts. */
export const TRANSFER_LIMITS: TransferLimits = { requestsMax: 32, bytesMax: 32 * 1024 ** 2 };

/** Below this the allocator is quicker than keeping buffers. */
const REUSED_BYTES_MIN = 1024 ** 2;
const REUSED_MAX = 8;

export function createTransfer(limits: TransferLimits, dependencies: { readonly clock: Clock }): Transfer {
  const gate = createGate({ placesMax: limits.requestsMax, weightMax: limits.bytesMax });
  const meter = createRateMeter(dependencies.clock);
  const spare: Buffer[] = [];

  return {
    async buffer(bytes, signal) {
      const place = await gate.enter(bytes, signal);
      const whole = takeBuffer(spare, bytes);
      return {
        bytes: whole.subarray(0, bytes),
        release(state) {
          if (state === 'clean' && whole.length === BLOCK_BYTES_DEFAULT && spare.length < REUSED_MAX)
            spare.push(whole);
          place[Symbol.dispose]();
        },
      };
    },
    async request(signal, run) {
      using _place = await gate.enter(0, signal);
      return await run();
    },
    async send(bytes, run) {
      const end = meter.begin(bytes);
      let sent = false;
      try {
        const result = await run();
        sent = true;
        return result;
      } finally {
        end(sent);
      }
    },
    get bytesPerSecond() {
      return meter.bytesPerSecond;
    },
  };
}

function takeBuffer(spare: Buffer[], bytes: number): Buffer {
  if (bytes < REUSED_BYTES_MIN) return Buffer.allocUnsafe(bytes);
  // Untouched pages of a buffer that is larger than its block cost nothing.
  if (bytes <= BLOCK_BYTES_DEFAULT) return spare.pop() ?? Buffer.allocUnsafeSlow(BLOCK_BYTES_DEFAULT);
  return Buffer.allocUnsafeSlow(bytes);
}
