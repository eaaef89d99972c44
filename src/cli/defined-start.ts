import type { Log } from '../observe/log.ts';

/** End a process that doesn't listen, as administrators' habits have it (`kill -HUP` to read a config anew). */
const HABITS = ['SIGHUP', 'SIGUSR2', 'SIGALRM'] as const;

/**
 * A daemon is the same wherever it is started from: not in a folder that may be removed or unmounted, with modes of files
 * that don't depend on a shell's umask, and ended by SIGTERM and SIGINT only. For a process that runs nothing else.
 */
export function defineStart(log: Log): void {
  process.chdir('/');
  // Asking for it means setting it.
  process.umask(process.umask(0o077) | 0o022);
  for (const signal of HABITS) {
    process.on(signal, () => log.info('signal ignored; a new config needs a restart', { signal }));
  }
}
