import type { FileStat } from './file-stat.ts';

interface Named {
  readonly path: string;
  readonly stat: Pick<FileStat, 'dev' | 'ino'>;
}

/** `files` in the order of paths: the first name of a file stands for it, so that it is the same one in each scan. */
export function groupHardLinks<File extends Named>(files: readonly File[]) {
  const firstByInode = new Map<string, File>();
  const others: (File & { readonly target: string })[] = [];
  for (const file of files) {
    const inode = `${file.stat.dev}:${file.stat.ino}`;
    const first = firstByInode.get(inode);
    if (first === undefined) firstByInode.set(inode, file);
    else others.push({ ...file, target: first.path });
  }
  return { first: [...firstByInode.values()], others };
}
