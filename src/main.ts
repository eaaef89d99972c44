import { EvictdError, isErrno } from './base/errors.ts';
import { hideExperimentalWarnings } from './base/warnings.ts';
import { reportFailure } from './cli/failure.ts';
import { outputOn } from './cli/output.ts';
import { runProgram } from './cli/program.ts';
import { COMMANDS } from './cli/table.ts';

async function main(): Promise<void> {
  hideExperimentalWarnings();
  // Without a listener Node opens its debugger at this signal, on a port that every user of the machine reaches.
  process.on('SIGUSR1', () => undefined);
  leaveLostFolder();
  const err = outputOn(process.stderr);
  for (const name of dropVariables()) err.write(`evictd: the variable ${name} is ignored\n`);
  // Sets the exit code instead of leaving at once, so that what is still being written gets out.
  const fail = (error: unknown) => (process.exitCode = reportFailure(error, err));
  process.on('uncaughtException', (error) => {
    fail(error);
    // After an unknown fault nothing is known to be in order; systemd starts the daemon again.
    process.exit();
  });
  try {
    const surroundings = { env: process.env, out: outputOn(process.stdout), err, signal: endSignal() };
    process.exitCode = await runProgram(COMMANDS, process.argv.slice(2), surroundings);
  } catch (error) {
    fail(error);
  }
}

/**
 * Of Node, and set by whoever started this: they would change what it does, or switch its checks of certificates off. Some
 * have had their effect before; for the packaged program its launcher removes them.
 */
const IGNORED = ['NODE_TLS_REJECT_UNAUTHORIZED', 'NODE_OPTIONS', 'NODE_DEBUG', 'NODE_PATH'];

function dropVariables(): readonly string[] {
  const found = IGNORED.filter((name) => (process.env[name] ?? '') !== '');
  for (const name of found) delete process.env[name];
  return found;
}

/** No thread can be started in a folder that was removed. */
function leaveLostFolder(): void {
  try {
    process.cwd();
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error;
    process.chdir('/');
  }
}

/** Aborted at the first SIGINT or SIGTERM. */
function endSignal(): AbortSignal {
  const controller = new AbortController();
  const stop = (name: string) => controller.abort(new EvictdError('interrupted', `stopped by ${name}`));
  // A second Ctrl-C ends the process at once; a second SIGTERM must not cut a drain short.
  process.once('SIGINT', () => stop('SIGINT'));
  process.on('SIGTERM', () => stop('SIGTERM'));
  return controller.signal;
}

await main();
