import type { CompareOrder, CompareResult } from '../pack/compare-file.ts';
import type { FetchOrder, FetchResult } from '../pack/fetch-chunks.ts';
import type { PackEvent, SenderOptions } from '../pack/sender.ts';
import type { PackName, StoredChunk } from '../format/chunk.ts';
import type { ListJob, ListResult, LookJob, LookResult, ReadFailure } from '../scan/scan-job.ts';
import type { BlobStore } from '../store/store.ts';
import type { WireError } from './wire-error.ts';
import type { WireItems, WireResults } from './wire-items.ts';

/** One of the store's calls, with all that it takes but the signal. */
export type StoreCall = {
  readonly [Name in StoreCallName]: {
    readonly name: Name;
    readonly takes: WithoutSignal<Parameters<BlobStore[Name]>>;
  };
}[StoreCallName];

export type StoreCallName = Exclude<keyof BlobStore, 'describe'>;
type WithoutSignal<All extends readonly unknown[]> = All extends [...infer Rest, AbortSignal] ? Rest : never;

/** For a sender that the thread has under this number. */
export interface OfSender {
  readonly sender: number;
}

/** What the main thread asks of an engine thread. */
export type EngineCalls = {
  /** Loads the SDK, and does what else can be done before there is something to send. */
  prepare: (nothing: undefined) => void;
  list: (job: ListJob) => ListResult | ReadFailure;
  look: (job: LookJob) => LookResult | ReadFailure;
  fetch: (order: FetchOrder) => FetchResult;
  compare: (order: CompareOrder) => CompareResult;
  store: (call: StoreCall) => unknown;
  openSender: (order: OfSender & { readonly options: SenderOptions }) => void;
  feed: (order: OfSender & { readonly items: WireItems; readonly seqs: readonly number[] }) => WireResults;
  putPieces: (
    order: OfSender & { readonly pieces: readonly Uint8Array[]; readonly seqs: readonly number[] },
  ) => readonly StoredChunk[];
  seal: (order: OfSender) => void;
  flush: (order: OfSender) => void;
  drop: (order: OfSender) => readonly PackName[];
  closeSender: (order: OfSender) => void;
  /** Ends the thread, which keeps its compiled code for the next one. */
  leave: (nothing: undefined) => void;
};

/** What an engine thread asks of the main thread, or tells it. */
export type MainCalls = {
  token: (nothing: undefined) => string;
  /** Another token than this one, which the service refuses. */
  renew: (stale: string) => boolean;
  pack: (event: OfSender & { readonly event: WirePackEvent }) => void;
};

export type WirePackEvent =
  | Exclude<PackEvent, { readonly kind: 'failed' }>
  | { readonly kind: 'failed'; readonly name: PackName; readonly error: WireError };
