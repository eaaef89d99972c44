/** In place of node:child_process: a VM has one process of the program at a time, so flock(1) always gets the lock. */
import { EventEmitter } from 'node:events';

import { runningProcess } from '../guest.ts';

export function spawn(): EventEmitter {
  const child = new EventEmitter();
  runningProcess().clock.timer(0, () => void child.emit('close', 0));
  return child;
}
