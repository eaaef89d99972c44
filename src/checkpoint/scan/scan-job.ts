/** Which names are in these folders, relative to `root`? */
export interface ListJob {
  /** Where the set's open folder is, for node:fs: `/proc/self/fd/N`. */
  readonly root: string;
  readonly folders: readonly string[];
}

/** For each folder its names with `/` between them in the order of their bytes, each once; or why it can't be listed. */
export interface ListResult {
  readonly kind: 'listed';
  readonly names: readonly (string | EntryFailure)[];
}

/** What is at these paths, relative to `root`? */
export interface LookJob {
  readonly root: string;
  readonly paths: readonly string[];
}

/** By the index of its path: `stats` (see `unpack` of scan-thread.ts), where a symbolic link leads, what failed. */
export interface LookResult {
  readonly kind: 'looked';
  readonly stats: BigInt64Array<ArrayBuffer>;
  readonly targets: ReadonlyMap<number, string>;
  readonly failures: ReadonlyMap<number, EntryFailure>;
}

/** Of one entry: `errno` is the system's, or `gone` for what is not there any more or something else by now. */
export interface EntryFailure {
  readonly errno: string;
  readonly message: string;
}

/** Nothing could be looked at: the set's own folder is gone. */
export interface ReadFailure extends EntryFailure {
  readonly kind: 'failed';
}
