import { constants } from 'node:fs';
import type { Stats } from 'node:fs';
import { access, open, realpath, stat } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';

import { EvictdError, errnoOf, isErrno } from '../base/errors.ts';
import { daemonUid } from './account.ts';
import type { Account } from './account.ts';
import { DEFAULT_PATH } from './environment.ts';

const HEAD_BYTES = 256;
const GROUP_OR_OTHERS_WRITE = 0o022;
const OTHERS_WRITE = 0o002;
const STICKY = 0o1000;

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
 * as the hook's user. A regular, executable file of root, the daemon's or the hook's user, writable by its owner
 * alone, in no folder where everybody may rename; and one that the kernel can execute.
 * Rejects with `hook-refused` (unsafe) or `hook-start` (can't be executed); the message names file, mode and owner.
 */
export async function checkExecutable(file: string, account: Account | undefined): Promise<void> {
  const real = await resolve(file);
  const stats = await stat(real);
  const what = file === real ? file : `${file} (${real})`;
  if (!stats.isFile()) refuse(`${what} is not a regular file`, stats, 'point the hook at a program');
  if ((stats.mode & 0o111) === 0) refuse(`${what} is not executable`, stats, `chmod 755 ${real}`);
  const owners = new Set([0, daemonUid(), account?.uid ?? 0]);
  if (!owners.has(stats.uid)) {
    refuse(`${what} belongs to a user who is neither root nor the hook's user`, stats, `chown root ${real}`);
  }
  if ((stats.mode & GROUP_OR_OTHERS_WRITE) !== 0) {
    refuse(`${what} can be written by others than its owner`, stats, `chmod go-w ${real}`);
  }
  for (const folder of new Set([...ancestors(file), ...ancestors(real)])) {
    const folderStats = await stat(folder);
    // Only "others": Debian's /usr/local/bin itself is writable by a group.
    if ((folderStats.mode & OTHERS_WRITE) !== 0 && (folderStats.mode & STICKY) === 0) {
      refuse(`${what} is in ${folder}, where everybody can replace it`, folderStats, `chmod o-w ${folder}`);
    }
  }
  await checkFormat(file);
}

/** `mode 0777, owner uid 1000`: what the operator has to see. */
export function describeOwnership(stats: Stats): string {
  return `mode ${(stats.mode & 0o7777).toString(8).padStart(4, '0')}, owner uid ${stats.uid}`;
}

function refuse(message: string, stats: Stats, remedy: string): never {
  throw new EvictdError('hook-refused', `${message} (${describeOwnership(stats)})`, { remedy });
}

async function resolve(file: string): Promise<string> {
  try {
    return await realpath(file);
  } catch (error) {
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

/**
 * A script without `#!` is a matter of luck: glibc hands it to /bin/sh, musl and systemd fail. So it is an error here,
 * and a missing interpreter gets its own words, since the kernel only says that "the file" doesn't exist.
 */
async function checkFormat(file: string): Promise<void> {
  const head = await readHead(file);
  if (head === undefined) return;
  const text = head.toString('latin1');
  if (!text.startsWith('#!')) {
    if (text === '' || !text.includes('\0')) {
      throw new EvictdError(
        'hook-start',
        `${file} is neither a binary nor a script that names its interpreter`,
        {
          remedy: 'begin it with a #! line such as #!/bin/sh',
        },
      );
    }
    return;
  }
  const interpreter = /^#![ \t]*([^ \t\n]+)/.exec(text)?.[1];
  if (interpreter === undefined || (isAbsolute(interpreter) && !(await isExecutableFile(interpreter)))) {
    const windows = interpreter?.endsWith('\r') === true;
    throw new EvictdError(
      'hook-start',
      `${file} names the interpreter ${JSON.stringify(interpreter ?? '')}, which does not exist or is not executable`,
      {
        remedy: windows
          ? 'the file has Windows line ends, remove the CRs'
          : 'install it or correct the #! line',
      },
    );
  }
}

/** Undefined when the daemon may execute the file but not read it. */
async function readHead(file: string): Promise<Buffer | undefined> {
  try {
    await using handle = await open(file, 'r');
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
    return buffer.subarray(0, bytesRead);
  } catch (error) {
    if (isErrno(error, 'EACCES', 'EPERM')) return undefined;
    throw error;
  }
}

async function isExecutableFile(path: string): Promise<boolean> {
  try {
    const stats = await stat(path);
    await access(path, constants.X_OK);
    return stats.isFile();
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'EACCES', 'ELOOP', 'ENAMETOOLONG')) return false;
    throw error;
  }
}

function ancestors(file: string): string[] {
  const folders: string[] = [];
  for (let folder = dirname(file); ; folder = dirname(folder)) {
    folders.push(folder);
    if (folder === dirname(folder)) return folders;
  }
}
