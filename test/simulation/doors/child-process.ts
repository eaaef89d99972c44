/** In place of node:child_process: flock(1) and sync(1), the only programs that are started without a hook. */
import { EventEmitter } from 'node:events';

import { runningProcess } from '../guest.ts';

const LOCKED = 1;
/** Of a disk with some MiB to write. */
const SYNC_MS = 50;

export function spawn(
  program: string,
  _args: readonly string[],
  { stdio }: { readonly stdio: string | readonly (string | number)[] },
): EventEmitter & { unref(): void } {
  const child = Object.assign(new EventEmitter(), { unref: () => undefined });
  const { guest, clock, isAlive } = runningProcess();
  if (program === 'sync') {
    clock.timer(SYNC_MS, () => {
      guest.disk.flush();
      child.emit('close', 0);
    });
    return child;
  }
  const code = guest.disk.lock(Number(stdio[3]), isAlive) ? 0 : LOCKED;
  clock.timer(0, () => void child.emit('close', code));
  return child;
}
