import { statfs } from 'node:fs/promises';

import { fsPath } from './path-name.ts';
import type { ScannedFile } from './scan.ts';

/** TMPFS_MAGIC, RAMFS_MAGIC and HUGETLBFS_MAGIC of linux/magic.h: file systems whose pages are never written back. */
const IN_MEMORY: ReadonlySet<number> = new Set([0x01021994, 0x858458f6, 0x958458f6]);

/**
 * Devices (`st_dev`) among `files` on which a write through a shared mapping leaves no new time. A disk's file system
 * is told of the first write to each page that writeback has cleaned, and stamps the file then; pages that live in
 * memory only are never cleaned. A device that can't be asked counts as one.
 */
export async function unstampedDevices(
  root: string,
  files: readonly ScannedFile[],
): Promise<ReadonlySet<bigint>> {
  const samples = new Map<bigint, string>();
  for (const { path, stat } of files) {
    if (!samples.has(stat.dev)) samples.set(stat.dev, path);
  }
  const unstamped = new Set<bigint>();
  for (const [device, path] of samples) {
    if (await isInMemory(fsPath(root, path))) unstamped.add(device);
  }
  return unstamped;
}

async function isInMemory(path: string | Buffer): Promise<boolean> {
  try {
    return IN_MEMORY.has((await statfs(path)).type);
  } catch {
    // Reading the file once more is the safe side; whatever is wrong with it shows then.
    return true;
  }
}
