/** What a reading thread does for a scan; see read-thread.ts. */
import { lstatSync, readdirSync, readlinkSync } from 'node:fs';
import type { BigIntStats } from 'node:fs';

import { isErrno } from '../base/errors.ts';
import { foldersBeneath } from './beneath.ts';
import { decodePath, fsPath, splitPath } from './path-name.ts';
import type { ListJob, ListResult, LookJob, LookResult, ReadFailure } from './read-job.ts';

/** Of a stat, in the order in which they are packed. */
const FIELDS = ['mode', 'nlink', 'uid', 'gid', 'size', 'mtimeNs', 'ctimeNs', 'ino', 'dev'] as const;

export type PackedStat = Readonly<Record<(typeof FIELDS)[number], bigint>>;

/** Names in each of the folders, in the order of their bytes. */
export function listFolders({ root, folders }: ListJob): ListResult | ReadFailure {
  const names: (string | undefined)[] = [];
  using beneath = foldersBeneath(root);
  for (const path of folders) {
    try {
      // One character per byte, so that nothing of an odd name is lost.
      const bytes = readdirSync(beneath.at(path), 'latin1').sort();
      names.push(bytes.map((name) => decodePath(Buffer.from(name, 'latin1'))).join('/'));
    } catch (error) {
      if (!isGone(error)) return failure(error, path);
      names.push(undefined);
    }
  }
  return { kind: 'listed', names };
}

/** Looks at each path without following links. */
export function lookAt({ root, paths }: LookJob): LookResult | ReadFailure {
  const stats = new BigInt64Array(paths.length * FIELDS.length);
  const targets = new Map<number, string>();
  using beneath = foldersBeneath(root);
  for (const [index, path] of paths.entries()) {
    const { folder, name } = splitPath(path);
    try {
      const location = fsPath(beneath.at(folder), name);
      const found = lstatSync(location, { bigint: true });
      if (found.isSymbolicLink()) {
        targets.set(index, decodePath(readlinkSync(location, { encoding: 'buffer' })));
      }
      pack(stats, index, found);
    } catch (error) {
      if (!isGone(error)) return failure(error, path);
    }
  }
  return { kind: 'looked', stats, targets };
}

function pack(stats: BigInt64Array, index: number, found: BigIntStats): void {
  for (const [field, name] of FIELDS.entries()) stats[index * FIELDS.length + field] = found[name];
}

/** Undefined: it was gone. */
export function unpack(stats: BigInt64Array, index: number): PackedStat | undefined {
  const field = (number: number) => stats[index * FIELDS.length + number] ?? 0n;
  // No file has a mode without a type.
  if (field(0) === 0n) return undefined;
  return {
    mode: field(0),
    nlink: field(1),
    uid: field(2),
    gid: field(3),
    size: field(4),
    mtimeNs: field(5),
    ctimeNs: field(6),
    ino: field(7),
    dev: field(8),
  };
}

/** Removed, or something else by now. */
function isGone(error: unknown): boolean {
  return isErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EINVAL');
}

function failure(error: unknown, path: string): ReadFailure {
  // Only calls of the file system throw here, and those have a code.
  const { code = 'unknown', message } = error as NodeJS.ErrnoException;
  return { kind: 'failed', errno: code, message, path };
}
