import type { FileChunk } from './chunk.ts';

/** What a set holds, below its own folder. */
export type Entry = FileEntry | DirectoryEntry | SymlinkEntry | HardLinkEntry;

export interface Attributes {
  /** Below 0o10000. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Epoch ns by the guest's clock; may be negative. Fits into 64 bits. */
  readonly mtimeNs: bigint;
}

export interface FileEntry extends Attributes {
  readonly type: 'file';
  /** Relative to the set; see path-name.ts. */
  readonly path: string;
  readonly size: number;
  readonly chunks: readonly FileChunk[];
}

export interface DirectoryEntry extends Attributes {
  readonly type: 'directory';
  readonly path: string;
}

export interface SymlinkEntry extends Attributes {
  readonly type: 'symlink';
  readonly path: string;
  readonly target: string;
}

/** Another name of a file of the same checkpoint. */
export interface HardLinkEntry {
  readonly type: 'hardlink';
  readonly path: string;
  /** Path of that file, which comes earlier in the order of paths. */
  readonly target: string;
}
