import type { BlobStore } from '../store/store.ts';
import type { CompareOrder, CompareResult } from '../pack/compare-file.ts';
import type { FetchOrder, FetchResult } from '../pack/fetch-chunks.ts';
import type { PackEvent, Sender, SenderOptions } from '../pack/sender.ts';
import type { ListJob, ListResult, LookJob, LookResult, ReadFailure } from '../scan/scan-job.ts';

/**
 * Threads that do the engine's work, so that the main thread goes on polling: they look at files, read, hash, pack, send,
 * fetch and write, and only they load the SDK and talk to the store. They start when there is work and end when there
 * is none. Every call rejects with an EvictdError: what the work rejects with, `worker-failed` when its thread died, or
 * the signal's reason.
 */
export interface Workers {
  /** The store, by a thread. */
  readonly store: BlobStore;
  /** Over how many threads sending can be spread. */
  readonly count: number;
  list(job: ListJob, signal: AbortSignal): Promise<ListResult | ReadFailure>;
  look(job: LookJob, signal: AbortSignal): Promise<LookResult | ReadFailure>;
  /** On thread number `thread` (0 to count - 1). Closing it is the caller's. */
  openSender(thread: number, options: SenderOptions, onPack: (event: PackEvent) => void): Promise<Sender>;
  /** Settles only when nothing is written to its files any more, also after an abort or when the thread has died. */
  fetch(order: FetchOrder, signal: AbortSignal): Promise<FetchResult>;
  /** As `fetch` does. */
  compare(order: CompareOrder, signal: AbortSignal): Promise<CompareResult>;
  /** Much is to be done soon: starts the threads. */
  start(): void;
  /** Nothing more is to be expected soon: ends the threads, unless something is under way. */
  rest(): void;
  /** Ends the threads; what is under way is rejected. The next call would start them anew. */
  close(): Promise<void>;
}
