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

export function openSync(path: Place, flags: number): number {
  return disk().open(path, flags);
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
  from: Uint8Array,
  offset: number,
  length: number,
  position: number,
): number {
  return disk().write(fd, from, offset, length, position);
}

export function lstatSync(path: Place, { bigint }: { bigint: boolean }) {
  return disk().lstat(path, bigint);
}

export function readdirSync(path: Place, _encoding: 'latin1'): string[] {
  return disk()
    .readdir(path)
    .map((name) => Buffer.from(name).toString('latin1'));
}

export function readlinkSync(path: Place, options?: { encoding: 'buffer' }): Buffer | string {
  // Whose open files those below /proc/self are, any name tells as well.
  const target = path === '/proc/self' ? 'self' : disk().readlink(path);
  return options === undefined ? target : Buffer.from(target);
}
