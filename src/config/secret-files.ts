import { statSync } from 'node:fs';

import type { Config } from './schema.ts';

const OTHERS_READ = 0o004;

/** One sentence for each file with a credential that everybody on the machine may read. */
export function readableSecrets({ checkpoint }: Config): readonly string[] {
  const auth = checkpoint?.store.auth;
  if (auth === undefined || !('file' in auth)) return [];
  const mode = modeOf(auth.file);
  if ((mode & OTHERS_READ) === 0) return [];
  const shown = (mode & 0o7777).toString(8).padStart(4, '0');
  return [
    `checkpoint.store.auth.file: ${auth.file} holds a secret and can be read by everybody (mode ${shown}); run: chmod o-rwx ${auth.file}`,
  ];
}

/** Whether it is there and fits is seen when the store is opened, which may be on another machine than this. */
function modeOf(file: string): number {
  try {
    return statSync(file, { throwIfNoEntry: false })?.mode ?? 0;
  } catch {
    // In a folder that not even this process may enter it can't be read by everybody.
    return 0;
  }
}
