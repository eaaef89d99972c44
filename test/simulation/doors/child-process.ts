/** In place of node:child_process: flock(1), the only program that is started without a hook. */
import { EventEmitter } from 'node:events';

import { runningProcess } from '../guest.ts';

const LOCKED = 1;

export function spawn(
  _program: string,
  _args: readonly string[],
  { stdio }: { readonly stdio: readonly (string | number)[] },
): EventEmitter {
  const child = new EventEmitter();
  const { guest, clock, isAlive } = runningProcess();
  const code = guest.disk.lock(Number(stdio[3]), isAlive) ? 0 : LOCKED;
  clock.timer(0, () => void child.emit('close', code));
  return child;
}
