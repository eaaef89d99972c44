import type { Clock } from '../base/clock.ts';
import { createGate } from '../base/concurrency.ts';
import { collectGarbage } from '../base/garbage.ts';
import { blockMemory, capacityOf, sharedMemory } from './block-memory.ts';
import type { BlockMemory } from './block-memory.ts';
import { BLOCK_BYTES_DEFAULT } from './block-size.ts';
import { createRateMeter } from './progress.ts';

/** What all sets of a process share: how much is under way at once, and how fast it goes. */
export interface Transfer {
  /** Waits until `bytes` more may be held in memory; dispose the answer when they are no longer. */
  hold(bytes: number, signal: AbortSignal): Promise<Disposable>;
  /** Before `bytes` are only compared: in the background that waits for the pace. */
  compare(bytes: number): Promise<void>;
  /** Memory for a block of `bytes`, perhaps larger, with anything in it. Take it only while holding as much. */
  memory(bytes: number): BlockMemory;
  /** Memory of SMALL_MEMORY_BYTES for small files. Take it only while holding what is used of it. */
  smallMemory(): SharedArrayBuffer;
  /** Nobody reads or writes `memory` any more. Not for that of a failed request, which may go on for a moment. */
  reuse(memory: BlockMemory): void;
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

/**
 * 6 blocks of 4 MiB, or 128 small requests. With latency only the number of requests under way counts, but six blocks
 * fill 1 GB/s at 20 ms.
 */
export const TRANSFER_LIMITS: TransferLimits = { requestsMax: 128, bytesMax: 24 * 1024 ** 2 };

/**
 * Blocks of more than this are read into memory that the threads share and that is used again. Plain memory moves
 * between threads just as fast, but each time it arrives the garbage collector takes it for new: with 4 MiB at a time it
 * would hardly do anything else than mark.
 */
const SHARED_BYTES_MIN = 2 * 1024 ** 2;
/** All that can be in use at once, so that none is ever left to the garbage collector, which doesn't see its size. */
const SPARE_MAX = 12;
/** Several small files fit in. The system gives only what is used of it. */
export const SMALL_MEMORY_BYTES = 1024 ** 2;
/** After so long without work, memory that is kept for it is given back. */
const IDLE_MS = 10_000;

/** Disposing it, when nothing is under way, ends what would keep the process alive. */
export function createTransfer(
  limits: TransferLimits,
  dependencies: { readonly clock: Clock },
): Transfer & Disposable {
  const { clock } = dependencies;
  const meter = createRateMeter(clock);
  const spare: SharedArrayBuffer[] = [];
  const smallSpare: SharedArrayBuffer[] = [];
  let idle: Disposable | undefined;
  const giveBack = () => {
    idle = undefined;
    if (!gate.isEmpty) return;
    spare.length = 0;
    smallSpare.length = 0;
    collectGarbage();
  };
  const onEmpty = () => {
    if (spare.length + smallSpare.length > 0) idle ??= clock.timer(IDLE_MS, giveBack);
  };
  const gate = createGate({ placesMax: limits.requestsMax, weightMax: limits.bytesMax, onEmpty });

  const ranked = (rank: () => number): Transfer => ({
    hold: (bytes, signal) => gate.enter(bytes, signal, rank()),
    compare: async () => undefined,
    memory(bytes) {
      if (bytes <= SHARED_BYTES_MIN || bytes > BLOCK_BYTES_DEFAULT) return blockMemory(bytes);
      return spare.pop() ?? sharedMemory(BLOCK_BYTES_DEFAULT);
    },
    smallMemory: () => smallSpare.pop() ?? sharedMemory(SMALL_MEMORY_BYTES),
    reuse(memory) {
      if (!(memory instanceof SharedArrayBuffer)) return;
      if (capacityOf(memory) === SMALL_MEMORY_BYTES) {
        if (smallSpare.length < limits.requestsMax) smallSpare.push(memory);
      } else if (spare.length < SPARE_MAX) spare.push(memory);
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
  // Not spread, which would keep the rate of now.
  return Object.assign(
    ranked(() => 0),
    { [Symbol.dispose]: () => idle?.[Symbol.dispose]() },
  );
}
