/** What a reading thread does for a scan; see read-thread.ts. scan-small.ts does the same without one. */
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
      names.push(namesTogether(readdirSync(beneath.at(path), 'latin1')));
    } catch (error) {
      if (!isGone(error)) return failure(error, path);
      names.push(undefined);
    }
  }
  return { kind: 'listed', names };
}

/** Of names that were read as 'latin1': one character per byte, so that nothing of an odd one is lost. */
export function namesTogether(bytes: readonly string[]): string {
  return bytes
    .toSorted()
    .map((name) => decodePath(Buffer.from(name, 'latin1')))
    .join('/');
}

/** Looks at each path without following links. */
export function lookAt({ root, paths }: LookJob): LookResult | ReadFailure {
  const looked = createLooked(paths.length);
  using beneath = foldersBeneath(root);
  for (const [index, path] of paths.entries()) {
    const { folder, name } = splitPath(path);
    try {
      const location = fsPath(beneath.at(folder), name);
      const found = lstatSync(location, { bigint: true });
      const target = found.isSymbolicLink() ? readlinkSync(location, { encoding: 'buffer' }) : undefined;
      noteFound(looked, index, found, target && decodePath(target));
    } catch (error) {
      if (!isGone(error)) return failure(error, path);
    }
  }
  return looked;
}

export interface Looked extends LookResult {
  readonly targets: Map<number, string>;
}

/** What was seen at so many paths: nothing so far. */
export function createLooked(paths: number): Looked {
  return { kind: 'looked', stats: new BigInt64Array(paths * FIELDS.length), targets: new Map() };
}

/** `target` is where a symbolic link leads. */
export function noteFound(
  { stats, targets }: Looked,
  index: number,
  found: BigIntStats,
  target: string | undefined,
): void {
  for (const [field, name] of FIELDS.entries()) stats[index * FIELDS.length + field] = found[name];
  if (target !== undefined) targets.set(index, target);
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
export function isGone(error: unknown): boolean {
  return isErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EINVAL');
}

export function failure(error: unknown, path: string): ReadFailure {
  // Only calls of the file system throw here, and those have a code.
  const { code = 'unknown', message } = error as NodeJS.ErrnoException;
  return { kind: 'failed', errno: code, message, path };
}
