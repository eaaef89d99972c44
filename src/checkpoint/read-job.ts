import type { BlockMemory } from './block-memory.ts';
import type { FileStat } from './file-stat.ts';

/** What a reading thread is asked for. Buffers that carry content change hands; they aren't copied. */
export type ReadJob =
  /** A block of an open file, and its id; into `memory`, where that is large enough. */
  | {
      readonly kind: 'block';
      readonly fd: number;
      readonly position: number;
      readonly length: number;
      readonly hashKey: string;
      readonly memory: BlockMemory;
    }
  /** The ids of blocks that follow each other. Nothing else of them is kept. */
  | {
      readonly kind: 'hash';
      readonly fd: number;
      readonly position: number;
      readonly lengths: readonly number[];
      readonly hashKey: string;
    }
  /** A small file as a whole, if it is an ordinary one that holds still. */
  | {
      readonly kind: 'file';
      readonly root: string;
      /** Relative to `root`. */
      readonly path: string;
      /** Changed later than this, epoch ms by the guest's clock, it isn't read yet. */
      readonly changedBeforeMs: number;
      /** For its content; a larger file isn't read. */
      readonly memory: SharedArrayBuffer;
      readonly hashKey: string;
    }
  /** The same for several, one after the other in `memory`. */
  | {
      readonly kind: 'files';
      readonly root: string;
      readonly paths: readonly string[];
      /** The bytes of each as they were last seen; one that has other ones by now isn't read. */
      readonly sizes: readonly number[];
      readonly changedBeforeMs: number;
      readonly memory: SharedArrayBuffer;
      readonly hashKey: string;
    }
  /** As one zstd frame; into `memory`, where there is some: it is large enough. */
  | {
      readonly kind: 'compress';
      readonly content: Uint8Array;
      readonly memory: SharedArrayBuffer | undefined;
    }
  | FetchJob
  | PlaceFrameJob
  | VerifyJob
  | ListJob
  | LookJob;

/** Which names are in these folders, relative to `root`? */
export interface ListJob {
  readonly kind: 'list';
  readonly root: string;
  readonly folders: readonly string[];
}

/** For each folder its names with `/` between them; undefined: it is no folder, or gone. */
export interface ListResult {
  readonly kind: 'listed';
  readonly names: readonly (string | undefined)[];
}

/** What is at these paths, relative to `root`? */
export interface LookJob {
  readonly kind: 'look';
  readonly root: string;
  readonly paths: readonly string[];
}

/** See `unpack` of scan-thread.ts; where a symbolic link leads by the index of its path. */
export interface LookResult {
  readonly kind: 'looked';
  readonly stats: BigInt64Array<ArrayBuffer>;
  readonly targets: ReadonlyMap<number, string>;
}

/** The system's error, for fileError. */
export interface ReadFailure {
  readonly kind: 'failed';
  readonly errno: string;
  readonly message: string;
  /** Where the job had several. */
  readonly path?: string;
}

/** Where content goes that comes in one stream, and what it should be: blocks that follow each other. */
export interface PlaceOrder {
  readonly bytes: number;
  /** The blocks' ids, and the key that they were made with. */
  readonly blocks: readonly string[];
  readonly hashKey: string;
  readonly lengths: readonly number[];
  readonly fd: number;
  readonly position: number;
}

/** A fetched block as its zstd frame, to be written to an open file if it holds what it should. */
export interface PlaceFrameJob {
  readonly kind: 'place-frame';
  readonly frame: Uint8Array;
  /** Of its content. */
  readonly id: string;
  readonly hashKey: string;
  readonly length: number;
  readonly fd: number;
  readonly position: number;
}

/** A part of a blob, fetched into an open file as it comes. Only a job of this kind can be broken off. */
export interface FetchJob extends PlaceOrder {
  readonly kind: 'fetch';
  readonly host: string;
  readonly port: number;
  /** Absent: not encrypted. */
  readonly tls?: { readonly ciphers: string; readonly ca?: string };
  /** Of a GET, the head of the request as it goes out. */
  readonly request: string;
  /** An answer without it isn't the service's. */
  readonly wantsHeader: string;
}

export type FetchResult =
  /** `wrong` is the first block that is not what it should be; what was written is of no use then. */
  | { readonly kind: 'fetched'; readonly wrong: number | undefined }
  /** Another answer than all of the range; nothing was written. */
  | {
      readonly kind: 'refused';
      readonly status: number;
      /** By lower-case name. */
      readonly headers: ReadonlyMap<string, string>;
    }
  /** No answer, or half of one. */
  | { readonly kind: 'broken'; readonly errno: string }
  | ReadFailure;

/** Is a block of an open file what it should be? It is copied to `copyTo`. */
export interface VerifyJob {
  readonly kind: 'verify';
  readonly fd: number;
  readonly position: number;
  readonly length: number;
  readonly id: string;
  readonly hashKey: string;
  readonly copyTo?: number;
}

export interface VerifyResult {
  readonly kind: 'verified';
  readonly isSame: boolean;
}

/** A small file that was read. */
export interface FoundFile {
  readonly stat: FileStat;
  readonly id: string;
}

export type ReadResult =
  | {
      readonly kind: 'block';
      readonly id: string;
      readonly memory: BlockMemory;
    }
  /** The file is shorter than it was. */
  | { readonly kind: 'short'; readonly memory: BlockMemory }
  /** Each block's id; undefined where the file is shorter. */
  | { readonly kind: 'hashed'; readonly ids: readonly (string | undefined)[] }
  /** One zstd frame. */
  | { readonly kind: 'compressed'; readonly content: Uint8Array }
  | FetchResult
  | { readonly kind: 'frame-placed'; readonly isRight: boolean }
  | VerifyResult
  | ({ readonly kind: 'file' } & FoundFile)
  /** Undefined for those that aren't to be had so easily, whatever the reason. */
  | { readonly kind: 'files'; readonly found: readonly (FoundFile | undefined)[] }
  /** Not to be had so easily: empty, too large, or no regular file; `isBusy`: written to just now, or meanwhile. */
  | { readonly kind: 'not-so'; readonly isBusy: boolean }
  | ListResult
  | LookResult
  | ReadFailure;

export type ReadAnswers = readonly (readonly [number: number, result: ReadResult])[];
export type ReadOrders = readonly (readonly [number: number, job: ReadJob])[];
export type ReadMessage =
  | { readonly kind: 'orders'; readonly orders: ReadOrders }
  /** Of a fetch. */
  | { readonly kind: 'cancel'; readonly order: number };
