/** What a thread does for a scan. scan-small.ts does the same without one. */
import { lstatSync, readdirSync, readlinkSync } from 'node:fs';
import type { BigIntStats } from 'node:fs';

import { assert } from '../../base/assert.ts';
import { isErrno } from '../../base/errors.ts';
import { decodePath, fsPath, splitPath } from '../../base/files/path-name.ts';
import { openFoldersSync } from '../../base/files/beneath.ts';
import { failureOf } from './file-error.ts';
import type { EntryFailure, ListJob, ListResult, LookJob, LookResult } from './scan-job.ts';

const TIME_MAX = 2n ** 63n - 1n;
const TIME_MIN = -(2n ** 63n);
const FIELDS = 9;
const ASCII = /^[\0-\x7f]*$/;

export interface PackedStat {
  /** With the type. */
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly ino: bigint;
  readonly dev: bigint;
}

/** Names in each of the folders. */
export function listFolders({ root, folders }: ListJob): ListResult {
  using beneath = openFoldersSync(root);
  const names = folders.map((path) => {
    try {
      return namesTogether(readdirSync(beneath.at(path), 'latin1'));
    } catch (error) {
      return entryFailure(error);
    }
  });
  return { kind: 'listed', names };
}

/**
 * Of names that were read as 'latin1': one character per byte, so that nothing of an odd one is lost. A folder is read
 * piece by piece, and a name that is put anew meanwhile may be in two of them.
 */
export function namesTogether(bytes: readonly string[]): string {
  return bytes
    .toSorted()
    .filter((name, index, sorted) => name !== sorted[index - 1])
    .map((name) => (ASCII.test(name) ? name : decodePath(Buffer.from(name, 'latin1'))))
    .join('/');
}

/** Looks at each path without following links. */
export function lookAt({ root, paths }: LookJob): LookResult {
  const looked = createLooked(paths.length);
  using beneath = openFoldersSync(root);
  for (const [index, path] of paths.entries()) {
    const { folder, name } = splitPath(path);
    try {
      const location = fsPath(beneath.at(folder), name);
      const found = lstatSync(location, { bigint: true });
      noteFound(looked, index, found, found.isSymbolicLink() ? targetOf(location) : undefined);
    } catch (error) {
      looked.failures.set(index, entryFailure(error));
    }
  }
  return looked;
}

function targetOf(link: string | Buffer): string {
  try {
    return decodePath(readlinkSync(link, { encoding: 'buffer' }));
  } catch (error) {
    throw notLink(error);
  }
}

/** Of readlink, EINVAL says that there is something else by now. */
export function notLink(error: unknown): unknown {
  return isErrno(error, 'EINVAL') ? Object.assign(new Error('no link any more'), { code: 'ENOENT' }) : error;
}

export interface Looked extends LookResult {
  readonly targets: Map<number, string>;
  readonly failures: Map<number, EntryFailure>;
}

/** What was seen at so many paths: nothing so far. */
export function createLooked(paths: number): Looked {
  return {
    kind: 'looked',
    stats: new BigInt64Array(paths * FIELDS),
    targets: new Map(),
    failures: new Map(),
  };
}

/** `target` is where a symbolic link leads. A time that doesn't fit is told as a failure, beside the rest. */
export function noteFound(
  looked: Looked,
  index: number,
  found: BigIntStats,
  target: string | undefined,
): Looked {
  const { stats, targets, failures } = looked;
  const { mtimeNs, ctimeNs } = found;
  const at = index * FIELDS;
  // One by one: by a list it takes several times as long.
  stats[at] = found.mode;
  stats[at + 1] = found.nlink;
  stats[at + 2] = found.uid;
  stats[at + 3] = found.gid;
  stats[at + 4] = found.size;
  stats[at + 5] = fitting(mtimeNs);
  stats[at + 6] = fitting(ctimeNs);
  stats[at + 7] = found.ino;
  stats[at + 8] = found.dev;
  if (target !== undefined) targets.set(index, target);
  const unfit = stats[at + 5] === mtimeNs ? ctimeNs : mtimeNs;
  if (fitting(unfit) !== unfit)
    failures.set(index, { errno: 'EOVERFLOW', message: `its time is ${unfit} ns` });
  return looked;
}

function fitting(time: bigint): bigint {
  return time > TIME_MAX ? TIME_MAX : time < TIME_MIN ? TIME_MIN : time;
}

/** Those of some paths, in the same memory. */
export function rowsOf(stats: BigInt64Array, from: number, end: number): BigInt64Array {
  return stats.subarray(from * FIELDS, end * FIELDS);
}

/** Undefined: nothing was seen there. */
export function unpack(stats: BigInt64Array, index: number): PackedStat | undefined {
  const field = (number: number) => stats[index * FIELDS + number] ?? 0n;
  const mode = Number(field(0));
  // No file has a mode without a type.
  if (mode === 0) return undefined;
  const mtimeNs = field(5);
  const ctimeNs = field(6);
  return {
    mode,
    nlink: Number(field(1)),
    uid: Number(field(2)),
    gid: Number(field(3)),
    size: Number(field(4)),
    mtimeNs,
    // Most often the same: one is enough then, which counts where there are a million.
    ctimeNs: ctimeNs === mtimeNs ? mtimeNs : ctimeNs,
    ino: field(7),
    dev: field(8),
  };
}

/** Of one that was looked at here. */
export function packOne(found: BigIntStats): PackedStat {
  const { stats } = noteFound(createLooked(1), 0, found, undefined);
  const packed = unpack(stats, 0);
  assert(packed !== undefined, 'a file has a mode');
  return packed;
}

/** ENOENT and, where a folder was, ENOTDIR: removed, or something else by now. */
export function entryFailure(error: unknown): EntryFailure {
  const failure = failureOf(error);
  return isErrno(error, 'ENOENT', 'ENOTDIR') ? { ...failure, errno: 'gone' } : failure;
}
