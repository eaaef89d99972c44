import { constants } from 'node:fs';
import { lstat, open, readFile, rm } from 'node:fs/promises';
import { hash } from 'node:crypto';

import { isErrno } from '../base/errors.ts';
import { fileError } from './file-error.ts';
import { RESTORED, RESTORING } from './own-names.ts';
import type { RestoreTarget } from './restore-target.ts';
import { RestoreMarker } from './schema.ts';

/*
 * Whether a folder is complete is said in the folder itself: a disk that is lost, moved or copied takes the answer with
 * it. The file `.evictd-restoring` is there from before the first change until all is on disk, then `.evictd-restored`.
 * Both are for others to look at (systemd's ConditionPathExists=), and neither is ever part of a checkpoint.
 */

export type RestoreState =
  | { readonly kind: 'none' }
  | { readonly kind: 'unfinished' }
  | { readonly kind: 'complete'; readonly marker: RestoreMarker };

const MARKER_BYTES_MAX = 16 * 1024;

/** What a folder says of itself; a mark that can't be understood is none. Rejects `file-unreadable`, `file-failed`. */
export async function readRestoreState(folder: string): Promise<RestoreState> {
  try {
    if (await isThere(`${folder}/${RESTORING}`)) return { kind: 'unfinished' };
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    await using handle = await open(`${folder}/${RESTORED}`, flags);
    const buffer = Buffer.alloc(MARKER_BYTES_MAX);
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, 0);
    const marker = parseMarker(buffer.toString('utf8', 0, bytesRead));
    return marker === undefined ? { kind: 'none' } : { kind: 'complete', marker };
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EISDIR')) return { kind: 'none' };
    throw fileError(error, folder);
  }
}

export async function markUnfinished(target: RestoreTarget): Promise<void> {
  const text = 'evictd is restoring this folder: it is not complete. This file goes when it is.\n';
  await writeMark(target, RESTORING, text);
  await removeMark(target, RESTORED);
  await target.sync();
}

/** To call once all files are on disk. */
export async function markComplete(target: RestoreTarget, marker: RestoreMarker): Promise<void> {
  await writeMark(target, RESTORED, `${JSON.stringify(marker)}\n`);
  await removeMark(target, RESTORING);
  await target.sync();
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

async function writeMark(target: RestoreTarget, name: string, text: string): Promise<void> {
  await target.replaceFile(name, async (handle) => {
    await handle.writeFile(text);
    // For the workload, whoever it runs as.
    await handle.chmod(0o644);
  });
}

function removeMark(target: RestoreTarget, name: string): Promise<void> {
  return target.inFolderOf(name, async (folder) => {
    try {
      await rm(folder.at(name), { force: true });
    } catch (error) {
      throw fileError(error, name);
    }
  });
}

async function isThere(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return false;
    throw error;
  }
}

function parseMarker(text: string): RestoreMarker | undefined {
  try {
    return RestoreMarker.safeParse(JSON.parse(text)).data;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
