import type { FileStat } from './file-stat.ts';

interface Attributes {
  /** Relative to the set; see path-name.ts. */
  readonly path: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

export interface ScannedFile extends Attributes {
  readonly stat: FileStat;
}

export interface ScannedDirectory extends Attributes {
  readonly mtimeNs: bigint;
}

export interface ScannedSymlink extends Attributes {
  readonly mtimeNs: bigint;
  readonly target: string;
}

/** Another name of a file that is among the `files` of the same scan, and comes after it in the order of paths. */
export interface ScannedHardLink extends ScannedFile {
  /** Path of that file. */
  readonly target: string;
}
