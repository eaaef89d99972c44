import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

import { isErrno } from '../errors.ts';

/**
 * Makes a folder with its parents, where they are missing; answers whether it did. Rejects with the system's error.
 * Not `mkdir` with `recursive`: Node 26 loops for ever where a folder exists that takes no new ones (/proc).
 */
export async function makeFolder(folder: string, mode: number): Promise<boolean> {
  try {
    await mkdir(folder, { mode });
    return true;
  } catch (error) {
    if (isErrno(error, 'EEXIST') && (await stat(folder)).isDirectory()) return false;
    const parent = dirname(folder);
    if (!isErrno(error, 'ENOENT') || parent === folder) throw error;
    await makeFolder(parent, mode);
    try {
      await mkdir(folder, { mode });
      return true;
    } catch (again) {
      // Somebody else was quicker.
      if (isErrno(again, 'EEXIST')) return false;
      throw again;
    }
  }
}
