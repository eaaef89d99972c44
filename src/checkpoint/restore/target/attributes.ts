import { chmodSync, chownSync } from 'node:fs';
import type { BigIntStats } from 'node:fs';

import type { Attributes, Entry } from '../../format/entry.ts';
import type { SystemCalls } from './system-calls.ts';

/*
 * Whoever may write the container can say any owner, mode and content, and a restore runs as root: with one more bit a
 * user of the machine would have a program of their own that runs as root. So set-user-ID and set-group-ID are never
 * put on a file, whoever asks; where a file that is there and equal has them, of the same
 * owner, they stay. On folders set-group-ID only says who the group of new files is.
 */
export interface AttributeSetter {
  /** Gives what is at `location` (see `SystemCalls`) the owner (only root can), mode and time; what is right is left alone. */
  set(location: string, found: BigIntStats, wanted: EntryWithAttributes): void;
  /** Whether mode and owner, as far as they are restored, are those of the entry. */
  areSet(found: BigIntStats, wanted: EntryWithAttributes): boolean;
  /** Files that went without a bit that they had. */
  readonly bitsDropped: readonly string[];
}

export type EntryWithAttributes = Exclude<Entry, { readonly type: 'hardlink' }>;

const SET_IDS = 0o6000;
/** More needn't be remembered to be told of. */
const NAMED_MAX = 100;

export function createAttributeSetter(
  { isRoot }: { readonly isRoot: boolean },
  { system }: { readonly system: Pick<SystemCalls, 'setTime'> },
): AttributeSetter {
  const bitsDropped: string[] = [];
  const sameOwner = (found: BigIntStats, { uid, gid }: Attributes) =>
    !isRoot || (Number(found.uid) === uid && Number(found.gid) === gid);
  const modeFor = (found: BigIntStats, wanted: EntryWithAttributes) => {
    if (isRoot && wanted.type === 'directory') return wanted.mode;
    const kept = sameOwner(found, wanted) ? Number(found.mode) & SET_IDS : 0;
    return wanted.mode & (0o1777 | kept);
  };
  return {
    bitsDropped,
    set(location, found, wanted) {
      const mode = modeFor(found, wanted);
      const isOwned = sameOwner(found, wanted);
      if (!isOwned) chownSync(location, wanted.uid, wanted.gid);
      // After the owner, since a change of owner takes set-user-ID away. A link has no mode of its own.
      if (wanted.type !== 'symlink' && (!isOwned || (Number(found.mode) & 0o7777) !== mode)) {
        chmodSync(location, mode);
      }
      if (wanted.type === 'file' && mode !== wanted.mode && bitsDropped.length < NAMED_MAX) {
        bitsDropped.push(wanted.path);
      }
      if (found.mtimeNs !== wanted.mtimeNs) system.setTime(location, wanted.mtimeNs);
    },
    areSet: (found, wanted) =>
      sameOwner(found, wanted) &&
      (wanted.type === 'symlink' || (Number(found.mode) & 0o7777) === modeFor(found, wanted)),
  };
}
