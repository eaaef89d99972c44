import type { Clock } from '../base/clock.ts';
import { createGate } from '../base/concurrency.ts';
import { BLOCK_BYTES_DEFAULT } from './block-size.ts';
import { createRateMeter } from './progress.ts';

/** What all sets of a process share: how much is under way at once, and how fast it goes. */
export interface Transfer {
  /** Waits until `bytes` more may be held in memory; dispose the answer when they are no longer. */
  hold(bytes: number, signal: AbortSignal): Promise<Disposable>;
  /** Memory for a block of `bytes`, perhaps larger, with anything in it. Take it only while holding as much. */
  memory(bytes: number): ArrayBuffer;
  /** Nobody reads or writes `memory` any more. Not for that of a failed request, which may go on for a moment. */
  reuse(memory: ArrayBuffer): void;
  /** Runs a request that carries no content worth counting, when there is a place for it. */
  request<T>(signal: AbortSignal, run: () => Promise<T>): Promise<T>;
  /** Runs a request that carries `bytes` of content, on a place that its content already holds. */
  send<T>(bytes: number, run: () => Promise<T>): Promise<T>;
  readonly bytesPerSecond: number | undefined;
  /** The same, for somebody whose turn among those who wait goes by `rank`, asked at each request: the lowest first. */
  withRank(rank: () => number): Transfer;
}

export interface TransferLimits {
  readonly requestsMax: number;
  /** Content held in memory, over all sets. */
  readonly bytesMax: number;
}

/** 8 blocks of 4 MiB, or 64 small requests: with latency only the number of requests under way counts. */
export const TRANSFER_LIMITS: TransferLimits = { requestsMax: 64, bytesMax: 32 * 1024 ** 2 };

/** Below this the allocator is quicker than keeping memory. */
const REUSED_BYTES_MIN = 1024 ** 2;
const REUSED_MAX = 8;

export function createTransfer(limits: TransferLimits, dependencies: { readonly clock: Clock }): Transfer {
  const gate = createGate({ placesMax: limits.requestsMax, weightMax: limits.bytesMax });
  const meter = createRateMeter(dependencies.clock);
  const spare: ArrayBuffer[] = [];

  const ranked = (rank: () => number): Transfer => ({
    hold: (bytes, signal) => gate.enter(bytes, signal, rank()),
    memory(bytes) {
      if (bytes < REUSED_BYTES_MIN || bytes > BLOCK_BYTES_DEFAULT) return new ArrayBuffer(bytes);
      // Untouched pages of memory that is larger than its block cost nothing.
      return spare.pop() ?? new ArrayBuffer(BLOCK_BYTES_DEFAULT);
    },
    reuse(memory) {
      if (memory.byteLength === BLOCK_BYTES_DEFAULT && spare.length < REUSED_MAX) spare.push(memory);
    },
    async request(signal, run) {
      using _place = await gate.enter(0, signal, rank());
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
    withRank: ranked,
  });
  return ranked(() => 0);
}
