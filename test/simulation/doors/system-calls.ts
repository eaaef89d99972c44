/** In place of `src/checkpoint/restore/target/system-calls.ts`, which asks the kernel: the simulated disk. */
import type { SystemCalls } from '../../../src/checkpoint/restore/target/system-calls.ts';
import { runningProcess } from '../guest.ts';

export function openSystemCalls(): SystemCalls {
  const { guest, isAlive } = runningProcess();
  return {
    locationOf: (fd) => `/proc/self/fd/${fd}`,
    setTime: (location, mtimeNs) => guest.disk.setTime(location, mtimeNs),
    syncAll() {
      guest.disk.flush();
      return true;
    },
    lock: (fd) => (guest.disk.lock(fd, isAlive) ? 'locked' : 'held'),
    [Symbol.dispose]: () => undefined,
  };
}
