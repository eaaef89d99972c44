/**
 * What the checkpoint engine needs of a blob service. Contract for every implementation:
 * each call is bounded by its signal and by a time of its own, retries what is worth retrying inside the signal,
 * and otherwise rejects with an EvictdError whose code is a `StoreErrorCode`.
 * Names are relative to the container.
 */
export interface BlobStore {
  /** For people: account and container, never a secret. */
  readonly describe: string;
  /** One page of the blobs below `prefix`, in name order. Folders of a hierarchical account are left out. */
  list(prefix: string, options: ListOptions, signal: AbortSignal): Promise<BlobPage>;
  /** One page of the names of folders right below `prefix`, each from the container's root and with a slash at its end. */
  folders(prefix: string, options: ListOptions, signal: AbortSignal): Promise<FolderPage>;
  /**
   * The whole blob, or `range` of it, at most `bytesMax` bytes. Rejects `not-found`, `archived`, `too-large`. The memory
   * is nobody else's: who reads much gives it back by `content.buffer.transfer(0)`, which takes half the CPU time that
   * waiting for the garbage collector does.
   */
  read(name: string, options: ReadOptions, signal: AbortSignal): Promise<Uint8Array<ArrayBuffer>>;
  /**
   * Writes a blob that must not be there yet (Put Blob, `If-None-Match: *`). The bytes must not change until this
   * settles. `taken`: the name has a blob, perhaps one of an earlier try of this very call; see create-once.ts.
   */
  create(name: string, body: Uint8Array, options: WriteOptions, signal: AbortSignal): Promise<Created>;
  /** Writes a blob whatever was there: only for reports, which are told anew. Rejects `immutable` where that can't be. */
  replace(name: string, body: Uint8Array, options: WriteOptions, signal: AbortSignal): Promise<void>;
  /** Deletes a blob. Rejects `immutable` or `leased` where the service keeps it. */
  remove(name: string, signal: AbortSignal): Promise<Removed>;
  /** One cheap request. Rejects `container-not-found` with the command that creates it; creates it in the emulator. */
  ensureContainer(signal: AbortSignal): Promise<void>;
}

export interface ListOptions {
  /** Where the page before ended; absent: from the beginning. */
  readonly from?: string;
  /** At most, and at most 5,000, which is the default. */
  readonly max?: number;
}

export interface BlobPage {
  readonly items: readonly BlobItem[];
  /** Present: there is more, from here. */
  readonly next?: string;
  /** When the page was made, epoch ms by the server's clock. */
  readonly serverMs: number;
}

export interface FolderPage {
  readonly names: readonly string[];
  readonly next?: string;
}

export interface BlobItem {
  readonly name: string;
  readonly bytes: number;
  /** Epoch ms by the server's clock. */
  readonly modifiedAt: number;
  /** In the archive tier: there, but not to be read. */
  readonly isArchived: boolean;
}

export interface ReadOptions {
  /** Byte offset and count. A shorter answer is refused (`bad-answer`). */
  readonly range?: { readonly offset: number; readonly count: number };
  /** Larger answers are refused (`too-large`). */
  readonly bytesMax: number;
}

export interface WriteOptions {
  readonly contentType: string;
}

export interface Created {
  readonly outcome: 'created' | 'taken';
  /** The account keeps versions: what is deleted later goes on costing. Only of `created`. */
  readonly isVersioned?: boolean;
}

export interface Removed {
  readonly outcome: 'removed' | 'absent';
  /** False: the account keeps what was deleted (soft delete or versions). */
  readonly isPermanent?: boolean;
}

export type StoreErrorCode =
  | 'not-found'
  | 'container-not-found'
  /** The blob is in the archive tier. */
  | 'archived'
  /** A policy or hold of the container forbids to change or delete. */
  | 'immutable'
  /** Somebody has a lease on it. */
  | 'leased'
  /** 401: token or signature not accepted. */
  | 'unauthenticated'
  /** 403: known, but not allowed; after a role assignment it may take minutes to go away. */
  | 'forbidden'
  /** No token from the identity endpoint. */
  | 'no-token'
  | 'throttled'
  | 'unavailable'
  | 'network'
  | 'timeout'
  | 'too-large'
  /** The answer can't be understood. */
  | 'bad-answer'
  | 'refused'
  | 'aborted';
