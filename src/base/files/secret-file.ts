import { open } from 'node:fs/promises';

import { EvictdError, isErrno } from '../errors.ts';

const SECRET_BYTES_MAX = 64 * 1024;

/**
 * What a file with a secret holds, without the space around it.
 * Rejects `bad-credential`; messages name the file and never show what is in it.
 */
export async function readSecretFile(file: string): Promise<string> {
  try {
    await using handle = await open(file, 'r');
    const found = await handle.stat();
    if (!found.isFile()) throw badCredential(`${file} is not a file`, 'name the file that holds the secret');
    // 0o022: group or others could put another account's credential there.
    if ((found.mode & 0o022) !== 0) {
      throw badCredential(`${file} can be written by others than its owner`, `chmod go-w ${file}`);
    }
    if (found.size > SECRET_BYTES_MAX) {
      throw badCredential(`${file} is too large to be a credential`, 'name the file that holds the secret');
    }
    return (await handle.readFile('utf8')).trim();
  } catch (error) {
    if (error instanceof EvictdError) throw error;
    if (isErrno(error, 'ENOENT')) {
      throw badCredential(`${file} does not exist`, 'write the credential there', error);
    }
    throw badCredential(`${file} can't be read`, 'check its owner and mode', error);
  }
}

export function badCredential(message: string, remedy: string, cause?: unknown): EvictdError {
  return new EvictdError('bad-credential', message, { remedy, cause });
}
