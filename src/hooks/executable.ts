import type { BigIntStats } from 'node:fs';
import { isAbsolute, join } from 'node:path';

import { EvictdError, errnoOf, isErrno } from '../base/errors.ts';
import { type Trusted, describeOwnership, openTrusted } from '../base/files/trusted.ts';
import type { Account } from './account.ts';
import { DEFAULT_PATH } from './environment.ts';
import { checkFormat, isExecutableFile } from './executable-format.ts';

/**
 * The file that a program's name means: an absolute path is itself, a bare name is searched in `path`.
 * Rejects with `hook-refused` for a relative path (hooks run in `/`), `hook-start` when there is no such program.
 */
export async function findExecutable(program: string, path: string | undefined): Promise<string> {
  if (isAbsolute(program)) return program;
  if (program === '' || program.includes('/') || program.includes('\0')) {
    throw new EvictdError(
      'hook-refused',
      `${JSON.stringify(program)} is neither an absolute path nor a name`,
      {
        remedy: 'write the full path of the program',
      },
    );
  }
  const folders = (path ?? DEFAULT_PATH).split(':').filter((folder) => isAbsolute(folder));
  for (const folder of folders) {
    const candidate = join(folder, program);
    if (await isExecutableFile(candidate)) return candidate;
  }
  throw new EvictdError('hook-start', `there is no program ${program} in ${folders.join(':')}`, {
    remedy: 'install it, or write its full path',
  });
}

/**
 * The checks before each start, as cron and sudo make them: whoever can write the file (or replace it) runs code
 * as the hook's user. A regular, executable file that only root, the daemon's or the hook's user can change (see
 * `openTrusted`), as its interpreters are; and one that the kernel can execute.
 * Rejects with `hook-refused` (unsafe) or `hook-start` (can't be executed); the message names file, mode and owner.
 */
export async function checkExecutable(file: string, account: Account | undefined): Promise<void> {
  await using found = await openProgram(file, account);
  const { path, stats } = found;
  const what = file === path ? file : `${file} (${path})`;
  if (!stats.isFile()) refuse(`${what} is not a regular file`, stats, 'point the hook at a program');
  if ((stats.mode & 0o111n) === 0n) refuse(`${what} is not executable`, stats, `chmod 755 ${path}`);
  // Who can change an interpreter decides what the script does.
  await checkFormat(file, async (interpreter) =>
    (await openProgram(interpreter, account))[Symbol.asyncDispose](),
  );
}

function refuse(message: string, stats: BigIntStats, remedy: string): never {
  throw new EvictdError('hook-refused', `${message} (${describeOwnership(stats)})`, { remedy });
}

async function openProgram(file: string, account: Account | undefined): Promise<Trusted> {
  try {
    return await openTrusted(file, account === undefined ? [] : [account.uid]);
  } catch (error) {
    if (error instanceof EvictdError) {
      throw new EvictdError('hook-refused', error.message, { remedy: error.remedy, cause: error });
    }
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) {
      throw new EvictdError('hook-start', `${file} does not exist`, {
        remedy: 'install it, or correct the hook\'s "run"',
        cause: error,
      });
    }
    throw new EvictdError('hook-start', `${file} can't be reached (${errnoOf(error) ?? 'unknown error'})`, {
      cause: error,
    });
  }
}
