import { hash } from 'node:crypto';
import { closeSync, constants, fchmodSync, lstatSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { readFile } from 'node:fs/promises';

import * as z from 'zod';

import type { Clock } from '../../../base/clock.ts';
import { isErrno } from '../../../base/errors.ts';
import { tryParseJson } from '../../../base/json.ts';
import type { Manifest } from '../../format/manifest.ts';
import { fileError } from '../../scan/file-error.ts';
import { RESTORED, RESTORING } from '../../scan/own-names.ts';
import type { Disk } from './disk.ts';
import type { Target } from './open-target.ts';
import { replaceWith } from './temporary.ts';

/*
 * Whether a folder is complete is said in the folder itself: a disk that is lost, moved or copied takes the answer with
 * it. The file `.evictd-restoring` is there from before the first change until all is on disk, then `.evictd-restored`.
 * Both are for others to look at (systemd's ConditionPathExists=), and neither is ever part of a checkpoint.
 */

/** In a folder that was restored. */
export const RestoreMarker = z.object({
  version: z.literal(1),
  set: z.string(),
  key: z.string(),
  /** The checkpoint's. */
  id: z.string(),
  createdAt: z.string(),
  /** Guest wall clock, RFC 3339. */
  restoredAt: z.string(),
  /** On which machine: an image of it has the mark too, but not what was done since. */
  machine: z.string(),
});
export type RestoreMarker = z.infer<typeof RestoreMarker>;

export type RestoreState =
  | { readonly kind: 'none' }
  | { readonly kind: 'unfinished' }
  | { readonly kind: 'complete'; readonly marker: RestoreMarker };

const MARKER_BYTES_MAX = 16 * 1024;

/** What a folder says of itself; a mark that can't be understood is none. Throws the error of the file. */
export function readRestoreState(folder: string): RestoreState {
  try {
    if (lstatSync(`${folder}/${RESTORING}`, { throwIfNoEntry: false }) !== undefined)
      return { kind: 'unfinished' };
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    const fd = openSync(`${folder}/${RESTORED}`, flags);
    try {
      const buffer = Buffer.alloc(MARKER_BYTES_MAX);
      const text = buffer.toString('utf8', 0, readSync(fd, buffer, 0, buffer.length, 0));
      const marker = RestoreMarker.safeParse(tryParseJson(text));
      return marker.success ? { kind: 'complete', marker: marker.data } : { kind: 'none' };
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EISDIR')) return { kind: 'none' };
    throw fileError(error, folder);
  }
}

export function markUnfinished(target: Target, disk: Pick<Disk, 'sync'>): void {
  const text = 'evictd is restoring this folder: it is not complete. This file goes when it is.\n';
  writeMark(target, RESTORING, text);
  rmSync(target.folders.place(RESTORED), { force: true });
  disk.sync();
}

/** To call once all files are on disk. */
export function markComplete(target: Target, marker: RestoreMarker, disk: Pick<Disk, 'sync'>): void {
  writeMark(target, RESTORED, `${JSON.stringify(marker)}\n`);
  // A mark that says both is read as unfinished: so the one that is gone first must not be the new one.
  disk.sync();
  rmSync(target.folders.place(RESTORING), { force: true });
  disk.sync();
}

export function markerOf(
  { id, key, set, createdAt }: Manifest,
  { machine }: { readonly machine: string },
  clock: Clock,
): RestoreMarker {
  return { version: 1, set, key, id, createdAt, restoredAt: new Date(clock.wallMs()).toISOString(), machine };
}

/** Names this machine without telling its machine-id, as machine-id(5) asks for; undefined when it has none. */
export async function readMachine(file = '/etc/machine-id'): Promise<string | undefined> {
  let id: string;
  try {
    id = (await readFile(file, 'utf8')).trim();
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'EACCES')) return undefined;
    throw fileError(error, file);
  }
  return /^[0-9a-f]{32}$/.test(id) ? hash('sha256', `evictd restore ${id}`).slice(0, 32) : undefined;
}

function writeMark(target: Target, name: string, text: string): void {
  replaceWith(target, name, (temporary) => {
    const fd = openSync(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
    try {
      writeSync(fd, text);
      // For the workload, whoever it runs as.
      fchmodSync(fd, 0o644);
    } finally {
      closeSync(fd);
    }
  });
}
