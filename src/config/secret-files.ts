import { statSync } from 'node:fs';

import type { Config } from './schema.ts';

const OTHERS_READ = 0o004;

/** One sentence for each file with a credential that everybody on the machine may read. */
export function readableSecrets({ checkpoint }: Config): readonly string[] {
  const auth = checkpoint?.store.auth;
  if (auth === undefined || !('file' in auth)) return [];
  const mode = modeOf(auth.file) ?? 0;
  if ((mode & OTHERS_READ) === 0) return [];
  const shown = (mode & 0o7777).toString(8).padStart(4, '0');
  return [
    `checkpoint.store.auth.file: ${auth.file} holds a secret and can be read by everybody (mode ${shown}); run: chmod o-rwx ${auth.file}`,
  ];
}

/** Of systemd (`LoadCredential=`): it is there only for the service itself. */
const CREDENTIALS = '/run/credentials/';

/** One sentence for each file with a secret that is not on this machine. */
export function missingSecrets({ checkpoint, notify }: Config): readonly string[] {
  const auth = checkpoint?.store.auth;
  const named = [
    ...(auth !== undefined && 'file' in auth ? [{ key: 'checkpoint.store.auth.file', file: auth.file }] : []),
    ...notify.flatMap(({ name, webhook }) =>
      webhook === undefined ? [] : [{ key: `notify "${name}", url-file`, file: webhook['url-file'] }],
    ),
  ];
  return named
    .filter(({ file }) => !file.startsWith(CREDENTIALS) && modeOf(file) === undefined)
    .map(({ key, file }) => `${key}: ${file} is not there, or in a folder that can't be entered`);
}

/** Undefined when it can't be told; then it can't be read by everybody either. */
function modeOf(file: string): number | undefined {
  try {
    return statSync(file, { throwIfNoEntry: false })?.mode;
  } catch {
    return undefined;
  }
}
