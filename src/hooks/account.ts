import { execFile } from 'node:child_process';
import { readFile, realpath } from 'node:fs/promises';
import { basename } from 'node:path';
import { promisify } from 'node:util';

import { EvictdError, isErrno } from '../base/errors.ts';

/** The user that a hook runs as. */
export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
  readonly shell: string;
  /** True when it is another user than the daemon's. */
  readonly switching: boolean;
}

const GETENT_MS_MAX = 3000;
const SETPRIV_PATHS = ['/usr/bin/setpriv', '/bin/setpriv'];

/**
 * Looks a user up by name or number; undefined for undefined.
 * /etc/passwd first: it needs no process and no directory server. Then `getent`, for LDAP, SSSD and systemd-homed.
 * Rejects with `hook-refused` when there is no such user, or when the daemon may not become it.
 */
export async function lookUpAccount(
  user: string | undefined,
  signal: AbortSignal,
): Promise<Account | undefined> {
  if (user === undefined) return undefined;
  const line = findLine(await readPasswd(), user) ?? findLine(await getent(user, signal), user);
  const [name = '', , uid, gid, , home = '/', shell = '/bin/sh'] = line?.split(':') ?? [];
  if (line === undefined || !isId(uid) || !isId(gid)) {
    throw new EvictdError('hook-refused', `there is no user ${JSON.stringify(user)} on this machine`, {
      remedy: 'create it (useradd --system) or correct the hook\'s "user"',
    });
  }
  const own = daemonUid();
  const account = { name, uid: Number(uid), gid: Number(gid), home, shell, switching: Number(uid) !== own };
  if (account.switching && own !== 0) {
    throw new EvictdError(
      'hook-refused',
      `evictd runs as uid ${own} and can't start a hook as ${name} (uid ${uid})`,
      {
        remedy: 'run evictd as root, or leave out the hook\'s "user"',
      },
    );
  }
  return account;
}

export function daemonUid(): number {
  // Only Windows lacks it, where there is no IMDS agent like this one.
  return process.geteuid?.() ?? 0;
}

/** How to start a program as an account: itself, or through setpriv, or with the uid set between fork and exec. */
export interface Act {
  readonly command: string;
  readonly argv0: string;
  readonly arguments: readonly string[];
  readonly uid?: number;
  readonly gid?: number;
}

/**
 * Setting `uid` and `gid` at the start drops all supplementary groups, with which a hook could not reach, say,
 * the Docker socket. setpriv (util-linux) sets them up and then becomes the program, keeping the process id.
 */
export async function actAs(
  account: Account | undefined,
  file: string,
  argv: readonly string[],
): Promise<Act> {
  const plain = { command: file, argv0: argv[0] ?? file, arguments: argv.slice(1) };
  if (account?.switching !== true) return plain;
  const setpriv = await findSetpriv();
  if (setpriv === undefined) return { ...plain, uid: account.uid, gid: account.gid };
  const identity = [`--reuid=${account.uid}`, `--regid=${account.gid}`, '--init-groups', '--'];
  return { command: setpriv, argv0: setpriv, arguments: [...identity, file, ...argv.slice(1)] };
}

async function findSetpriv(): Promise<string | undefined> {
  for (const path of SETPRIV_PATHS) {
    try {
      // BusyBox has an applet of this name that can't change users.
      if (basename(await realpath(path)) === 'setpriv') return path;
    } catch (error) {
      if (!isErrno(error, 'ENOENT', 'ENOTDIR')) throw error;
    }
  }
  return undefined;
}

async function readPasswd(): Promise<string> {
  try {
    return await readFile('/etc/passwd', 'utf8');
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return '';
    throw error;
  }
}

async function getent(user: string, signal: AbortSignal): Promise<string> {
  // A name that looks like an option or a path is nobody's.
  if (!/^[\w.@][\w.@$-]*$/.test(user)) return '';
  try {
    const { stdout } = await promisify(execFile)('getent', ['passwd', user], {
      timeout: GETENT_MS_MAX,
      killSignal: 'SIGKILL',
      maxBuffer: 64 * 1024,
      signal,
    });
    return stdout;
  } catch (error) {
    // 2: no such key; ENOENT: a system without getent has only the file.
    if (isErrno(error, 'ENOENT') || (error instanceof Error && 'code' in error && error.code === 2))
      return '';
    throw new EvictdError('hook-refused', `the user ${JSON.stringify(user)} could not be looked up`, {
      remedy: `try "getent passwd ${user}"`,
      cause: error,
    });
  }
}

function findLine(passwd: string, user: string): string | undefined {
  const lines = passwd.split('\n').map((line) => ({ line, fields: line.split(':') }));
  const byName = lines.find(({ fields }) => fields.length >= 7 && fields[0] === user);
  const byNumber = isId(user)
    ? lines.find(({ fields }) => fields.length >= 7 && fields[2] === user)
    : undefined;
  return (byName ?? byNumber)?.line;
}

function isId(text: string | undefined): boolean {
  return text !== undefined && /^\d{1,10}$/.test(text);
}
