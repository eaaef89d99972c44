import { resolve } from 'node:path';

import { EvictdError, isErrno } from '../errors.ts';
import { openToRead, openTrusted } from './trusted.ts';

const SECRET_BYTES_MAX = 64 * 1024;

/**
 * What a file with a secret holds, without the space around it. It has to be one that nobody else could have put there
 * (see `openTrusted`): with another account's credential the data would go to that account.
 * Rejects `bad-credential`; messages name the file and never show what is in it.
 */
export async function readSecretFile(file: string): Promise<string> {
  try {
    await using trusted = await openTrusted(resolve(file));
    const { stats } = trusted;
    if (!stats.isFile()) throw badCredential(`${file} is not a file`, 'name the file that holds the secret');
    if (stats.size > SECRET_BYTES_MAX) {
      throw badCredential(`${file} is too large to be a credential`, 'name the file that holds the secret');
    }
    await using handle = await openToRead(trusted);
    return (await handle.readFile('utf8')).trim();
  } catch (error) {
    if (error instanceof EvictdError) throw badCredential(error.message, error.remedy, error);
    if (isErrno(error, 'ENOENT')) {
      throw badCredential(`${file} does not exist`, 'write the credential there', error);
    }
    throw badCredential(`${file} can't be read`, 'check its owner and mode', error);
  }
}

export function badCredential(message: string, remedy: string | undefined, cause?: unknown): EvictdError {
  return new EvictdError('bad-credential', message, { remedy, cause });
}
