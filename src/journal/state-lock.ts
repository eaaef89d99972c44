import { spawn } from 'node:child_process';
import type { FileHandle } from 'node:fs/promises';
import { join, resolve } from 'node:path';

import { EvictdError, messageOf } from '../base/errors.ts';
import { makeFolder } from '../base/files/folder.ts';
import { openToRead, openTrusted } from '../base/files/trusted.ts';

/** What flock(1) ends with when somebody else has the lock. */
const IS_LOCKED = 1;
const OTHERS_READ = 0o044n;

/**
 * Locks the folder, for as long as this process lives or until it is disposed: the kernel releases it, however the
 * process ends. Two daemons with one journal would each go on with, or forget, the other's drain.
 * Rejects `already-running` when another process has the lock, `state-unlocked` when it can't be told or others could
 * change the folder (see `openTrusted`), and with the signal's reason.
 */
export async function lockState(dir: string, signal: AbortSignal): Promise<AsyncDisposable> {
  let folder: FileHandle | undefined;
  try {
    folder = await openOwn(resolve(dir));
    const code = await lock(folder.fd, signal);
    if (code === 0) return folder;
    if (code !== IS_LOCKED) throw new Error(`flock ended with exit code ${code}`);
  } catch (error) {
    await folder?.close();
    if (error instanceof EvictdError) {
      throw new EvictdError('state-unlocked', `state.dir: ${error.message}`, { remedy: error.remedy });
    }
    throw new EvictdError('state-unlocked', `state.dir: ${dir} can't be locked: ${messageOf(error)}`, {
      remedy: 'see to it that no second daemon uses it',
      cause: error,
    });
  }
  await folder.close();
  throw new EvictdError('already-running', `another evictd uses the state.dir ${dir}`, {
    remedy: 'stop it first, or give this one its own control.socket and state.dir',
  });
}

/** Whoever can read a folder could hold its lock: where others can, it is one in it that they can't. */
async function openOwn(dir: string): Promise<FileHandle> {
  await makeFolder(dir, 0o700);
  await using trusted = await openTrusted(dir);
  const isReadByOthers = (trusted.stats.mode & OTHERS_READ) !== 0n;
  return isReadByOthers ? await openOwn(join(dir, 'lock')) : await openToRead(trusted);
}

/** The lock is of the open file, which the child shares: it stays when flock has ended, and Node's other children lack it. */
function lock(fd: number, signal: AbortSignal): Promise<number | null> {
  return new Promise((resolve, reject) => {
    const child = spawn('flock', ['--nonblock', '3'], {
      env: { PATH: '/usr/bin:/bin' },
      stdio: ['ignore', 'ignore', 'ignore', fd],
      signal,
      killSignal: 'SIGKILL',
    });
    child.once('error', reject);
    child.once('close', resolve);
  });
}
