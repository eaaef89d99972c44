import type { Log } from '../observe/log.ts';

/** Of whoever started the daemon, in a shell or a unit of their own: they would change what it does, or how safely. */
const IGNORED = [
  'NODE_TLS_REJECT_UNAUTHORIZED',
  'NODE_OPTIONS',
  'NODE_DEBUG',
  'NODE_V8_COVERAGE',
  'NODE_PATH',
];

/** End a process that doesn't listen, as administrators' habits have it (`kill -HUP` to read a config anew). */
const HABITS = ['SIGHUP', 'SIGUSR2', 'SIGALRM'] as const;

/**
 * A daemon that starts the same wherever it is started from: not in a folder that may be removed or unmounted, with modes
 * of files that don't depend on a shell's umask, with no variable that changes Node, and ended by SIGTERM and SIGINT only.
 * For a process that runs the daemon and nothing else. Some of Node's variables have had their effect before; for the
 * packaged program its launcher removes them.
 */
export function defineStart(env: NodeJS.ProcessEnv, log: Log): void {
  process.chdir('/');
  process.umask(0o022);
  const found = IGNORED.filter((name) => (env[name] ?? '') !== '');
  for (const name of found) delete env[name];
  if (found.length > 0) log.warn('variables that would change Node are ignored', { variables: found });
  for (const signal of HABITS) {
    process.on(signal, () => log.info('signal ignored; a new config needs a restart', { signal }));
  }
}
