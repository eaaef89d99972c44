import { chmod, chown, lstat, readFile, rm } from 'node:fs/promises';
import type { Server } from 'node:http';
import { connect } from 'node:net';
import path from 'node:path';

import { EvictdError, isErrno, messageOf } from '../base/errors.ts';
import { makeFolder } from '../base/files/folder.ts';

export interface ListenOptions {
  readonly socket: string;
  /**
   * Name of the group that may connect besides the owner; where it doesn't exist the group stays as it is. Undefined:
   * only the owner may.
   */
  readonly group: string | undefined;
}

/** Rejects `control-unusable` when the socket can't be made, `already-running` when another daemon answers on it. */
export async function listen(server: Server, { socket, group }: ListenOptions): Promise<void> {
  try {
    await makeFolder(path.dirname(socket), 0o755);
    await removeStale(socket);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(socket, () => {
        server.off('error', reject);
        resolve();
      });
    });
    await chmod(socket, group === undefined ? 0o600 : 0o660);
    const gid = group === undefined ? undefined : await groupId(group);
    // Only root may give a file to a group that it isn't in; without it the owner is the only one to connect.
    if (gid !== undefined && process.getuid?.() === 0) await giveTo(gid, socket);
  } catch (error) {
    // Otherwise it would keep the process alive.
    server.close();
    if (error instanceof EvictdError) throw error;
    // EEXIST: mkdir found something else where the folder should be.
    const why = isErrno(error, 'EEXIST', 'ENOTDIR')
      ? `${path.dirname(socket)} is no folder, or lies below a file`
      : messageOf(error);
    throw new EvictdError('control-unusable', `control.socket: ${socket} can't be made: ${why}`, {
      remedy: 'set control.socket to a path in a folder that the daemon may write',
      cause: error,
    });
  }
}

async function giveTo(gid: number, socket: string): Promise<void> {
  try {
    await chown(socket, 0, gid);
  } catch (error) {
    // A hardened service can't give files away: there the unit does it (ExecStartPost=).
    if (!isErrno(error, 'EPERM')) throw error;
  }
}

/** From /etc/group; undefined when there is no such group. */
async function groupId(name: string): Promise<number | undefined> {
  const lines = (await readFile('/etc/group', 'utf8').catch(() => '')).split('\n');
  const fields = lines.map((line) => line.split(':')).find(([first]) => first === name);
  return fields?.[2] === undefined ? undefined : Number(fields[2]);
}

/** The socket of a daemon that was killed is left behind; one that answers belongs to a living one. */
async function removeStale(socket: string): Promise<void> {
  try {
    const found = await lstat(socket);
    if (!found.isSocket())
      throw new EvictdError('control-unusable', `control.socket: ${socket} is there, but is not a socket`, {
        remedy: 'set control.socket to a path of its own, such as /run/evictd/evictd.sock',
      });
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return;
    throw error;
  }
  if (await answers(socket)) {
    throw new EvictdError('already-running', `another evictd answers on ${socket}`, {
      remedy: 'stop it first, or give this one its own control.socket and state.dir',
    });
  }
  await rm(socket);
}

function answers(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const connection = connect(socket);
    connection.setTimeout(1000, () => {
      connection.destroy();
      // Full backlog or a stopped process: somebody holds it.
      resolve(true);
    });
    connection.once('connect', () => {
      connection.destroy();
      resolve(true);
    });
    connection.once('error', () => resolve(false));
  });
}
