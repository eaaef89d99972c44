import type { ScannedFile } from './scanned.ts';

/** Files with several names, which are told in the order of paths. */
export interface HardLinks {
  /** The path of the first name of this file, or undefined when this is the first: it stands for the file in each scan. */
  firstOf(file: ScannedFile): string | undefined;
}

export function createHardLinks(): HardLinks {
  const firsts = new Map<string, string>();
  return {
    firstOf({ path, stat }) {
      const inode = inodeOf(stat);
      const first = firsts.get(inode);
      if (first === undefined) firsts.set(inode, path);
      return first;
    },
  };
}

/** What all names of a file have in common. */
export function inodeOf({ dev, ino }: { readonly dev: bigint; readonly ino: bigint }): string {
  return `${dev}:${ino}`;
}
