import type { Cut, HashSpec, PackName, StoredChunk } from './chunk.ts';

/** What is at `checkpoints/<id>.json`: a checkpoint, or the mark of a writer that takes the set over. */
export type SetEntry = Manifest | Takeover;

/** Who writes. */
export interface Writer {
  readonly vmName: string;
  readonly vmId: string;
  readonly bootId: string;
}

interface SetEntryHead {
  /** Eight digits, one more than its parent's. */
  readonly id: string;
  readonly key: string;
  readonly set: string;
  /** The entry it was made after, with the sha256 of that blob in hex; null for the first. */
  readonly parent: { readonly id: string; readonly sha256: string } | null;
  /** 16 hex digits: one life of the writer's local index. */
  readonly epoch: string;
  /** 8 hex digits: the writer's process. */
  readonly process: string;
  readonly writer: Writer;
  /** RFC 3339, by the writer's clock. */
  readonly createdAt: string;
}

export interface Takeover extends SetEntryHead {
  readonly kind: 'takeover';
  /** Packs of an earlier epoch up to that number that this one may go on from: they stay until its first checkpoint. */
  readonly adopts: { readonly epoch: string; readonly seq: number } | null;
}

export interface Manifest extends SetEntryHead {
  readonly kind: 'checkpoint';
  readonly hash: HashSpec;
  readonly cut: Cut;
  readonly reason: string;
  /** The highest number that a pack of this epoch has, begun or not. */
  readonly seq: number;
  readonly totals: {
    readonly files: number;
    readonly directories: number;
    readonly links: number;
    /** Of all files. */
    readonly bytes: number;
    /** What was sent for it, staging included. */
    readonly bytesSent: number;
  };
  /** Entries that were being written to or moved: each is of a moment of its own. At most 100 are named. */
  readonly changing: NamedPaths;
  /** Entries that could not be had: an earlier version of them is in it, or none. At most 100 are named. */
  readonly lost: NamedPaths;
  /** Present: made at a deadline, with what was stored by then; `older` have the parent's content, `absent` none. */
  readonly partial?: { readonly older: NamedPaths; readonly absent: NamedPaths };
  /** The set's own folder. */
  readonly root: { readonly mode: number; readonly uid: number; readonly gid: number };
  /** The topmost piece of its tree; null: it has no entries. */
  readonly tree: StoredChunk | null;
  /** The topmost piece of its table of data packs; null: it needs none. */
  readonly packs: StoredChunk | null;
  /** Packs that hold its metadata, with their bytes and how many of those it uses. */
  readonly metadata: readonly PackUse[];
  /** How old the list of packs was that it was checked against, ms. */
  readonly listAgeMs: number;
}

export interface NamedPaths {
  readonly count: number;
  readonly paths: readonly string[];
}

/** A row of the table of packs. */
export interface PackUse {
  readonly name: PackName;
  /** Of the blob. */
  readonly bytes: number;
  /** Of stored chunks in it that the checkpoint needs. */
  readonly used: number;
}

/** `format.json`: what all writers of a set have in common. */
export interface SetFormat {
  readonly hash: HashSpec;
  readonly cut: Cut;
}
