import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

import { isErrno } from './errors.ts';

/**
 * Makes a folder with its parents, where they are missing. Rejects with the system's error.
 * Not `mkdir` with `recursive`: Node 26 loops for ever where a folder exists that takes no new ones (/proc).
 */
export async function makeFolder(folder: string, mode: number): Promise<void> {
  try {
    await mkdir(folder, { mode });
  } catch (error) {
    if (isErrno(error, 'EEXIST') && (await stat(folder)).isDirectory()) return;
    const parent = dirname(folder);
    if (!isErrno(error, 'ENOENT') || parent === folder) throw error;
    await makeFolder(parent, mode);
    await mkdir(folder, { mode }).catch((again: unknown) => {
      // Somebody else was quicker.
      if (!isErrno(again, 'EEXIST')) throw again;
    });
  }
}
