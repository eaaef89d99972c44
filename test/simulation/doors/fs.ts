/** In place of `node:fs`: the disk of the simulated VM in which the program runs. */
import { constants } from 'node:fs';

import { type Place, fail } from '../disk.ts';
import { runningProcess } from '../guest.ts';

export { constants };

/** A dead process reads and writes nothing any more. */
function disk() {
  const process = runningProcess();
  return process.isAlive() ? process.guest.disk : fail('EIO', 'the process is dead');
}

export function openSync(path: Place, flags: number, mode?: number): number {
  return disk().open(path, flags, mode);
}

export function closeSync(fd: number): void {
  disk().close(fd);
}

export function fstatSync(fd: number, { bigint }: { bigint: boolean }) {
  return disk().fstat(fd, bigint);
}

export function readSync(
  fd: number,
  into: Uint8Array,
  offset: number,
  length: number,
  position: number,
): number {
  return disk().read(fd, into, offset, length, position);
}

export function writeSync(
  fd: number,
  from: Uint8Array | string,
  offset = 0,
  length?: number,
  position: number | null = null,
): number {
  const bytes = typeof from === 'string' ? Buffer.from(from) : from;
  return disk().write(fd, bytes, offset, length ?? bytes.length, position);
}

export function ftruncateSync(fd: number, size: number): void {
  disk().truncate(fd, size);
}

export function fsyncSync(fd: number): void {
  disk().sync(fd);
}

export function fsync(fd: number, done: (error: Error | null) => void): void {
  disk().sync(fd);
  runningProcess().clock.timer(1, () => done(null));
}

interface StatOptions {
  readonly bigint?: boolean;
  readonly throwIfNoEntry?: boolean;
}

export function lstatSync(path: Place, { bigint = false, throwIfNoEntry = true }: StatOptions = {}) {
  const from = disk();
  return !throwIfNoEntry && from.inode(path) === undefined ? undefined : from.lstat(path, bigint);
}

export function statSync(path: Place, { bigint = false }: StatOptions = {}) {
  return disk().stat(path, bigint);
}

export function readdirSync(path: Place, encoding?: 'latin1'): string[] {
  const names = disk().readdir(path);
  return encoding === undefined ? names : names.map((name) => Buffer.from(name).toString('latin1'));
}

export function readlinkSync(path: Place, options?: { encoding: 'buffer' }): Buffer | string {
  // Whose open files those below /proc/self are, any name tells as well.
  const target = path === '/proc/self' ? 'self' : disk().readlink(path);
  return options === undefined ? target : Buffer.from(target);
}

export function mkdirSync(path: Place, options?: number | { readonly mode: number }): void {
  disk().mkdir(path, typeof options === 'object' ? options.mode : options);
}

export function chmodSync(path: Place, mode: number): void {
  disk().chmodAt(path, mode);
}

export function fchmodSync(fd: number, mode: number): void {
  disk().chmod(fd, mode);
}

export function chownSync(path: Place, uid: number, gid: number): void {
  disk().lchown(path, uid, gid);
}

export function symlinkSync(target: string | Uint8Array, path: Place): void {
  disk().symlink(Buffer.from(target).toString('utf8'), path);
}

export function linkSync(from: Place, to: Place): void {
  disk().link(from, to);
}

export function renameSync(from: Place, to: Place): void {
  disk().rename(from, to);
}

export function rmSync(path: Place, { force = false }: { readonly force?: boolean } = {}): void {
  const from = disk();
  if (!force || from.inode(path) !== undefined) from.remove(path);
}
