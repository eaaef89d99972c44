import { opendir } from 'node:fs/promises';
import { join, relative } from 'node:path';

import type { SetOptions } from './set-options.ts';
import { matcher } from './set-patterns.ts';

/** A set of more files than this, none of which is included in the first so many, is not looked at to its end. */
const ENTRIES_MAX = 100_000;

export interface AnyFile {
  /** It has at least one file that would be saved. */
  readonly isSaved: boolean;
  /** Files that are there but don't belong to the set, up to the one that does. */
  readonly passedOver: number;
  /** The look was ended before it had seen all. */
  readonly isCut: boolean;
}

/** Would a checkpoint of this set hold any file? Ends at the first one. Rejects with the system's error. */
export async function findAnyFile(
  { path, include, exclude }: Pick<SetOptions, 'path' | 'include' | 'exclude'>,
  signal: AbortSignal,
): Promise<AnyFile> {
  const [isIncluded, isExcluded] = [matcher(include), matcher(exclude)];
  let passedOver = 0;
  let entries = 0;
  for await (const entry of await opendir(path, { recursive: true })) {
    if (signal.aborted || ++entries > ENTRIES_MAX) return { isSaved: false, passedOver, isCut: true };
    if (entry.isDirectory()) continue;
    const name = relative(path, join(entry.parentPath, entry.name));
    if (isIncluded(name) && !isExcluded(name)) return { isSaved: true, passedOver, isCut: false };
    passedOver++;
  }
  return { isSaved: false, passedOver, isCut: false };
}
