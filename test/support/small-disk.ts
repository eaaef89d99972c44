import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

import { testFolder } from './file-tree.ts';

const run = promisify(execFile);

/** Only root may mount. */
export const mayMount = process.getuid?.() === 0;

export interface SmallDisk extends AsyncDisposable {
  readonly path: string;
  readonly makeReadOnly: () => Promise<unknown>;
}

/** A disk of its own for one test. */
export async function smallDisk(bytes: number): Promise<SmallDisk> {
  const folder = await testFolder();
  await run('mount', ['-t', 'tmpfs', '-o', `size=${bytes},mode=0755`, 'evictd-test', folder.path]);
  return {
    path: folder.path,
    makeReadOnly: () => run('mount', ['-o', 'remount,ro', folder.path]),
    async [Symbol.asyncDispose]() {
      await run('umount', ['-l', folder.path]);
      await folder[Symbol.asyncDispose]();
    },
  };
}
