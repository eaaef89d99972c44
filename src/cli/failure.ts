import { EvictdError, messageOf } from '../base/errors.ts';
import { redact } from '../base/redact.ts';
import { EXIT, type ExitCode, type Output } from './command.ts';

/** Codes whose exit code is not just "it failed". */
const EXIT_BY_CODE: ReadonlyMap<string, ExitCode> = new Map([
  ['config-invalid', EXIT.usage],
  ['no-store', EXIT.usage],
  ['bad-store-url', EXIT.usage],
  ['bad-credential', EXIT.usage],
  ['no-such-set', EXIT.usage],
  ['not-configured', EXIT.usage],
  // The key that the config asks for can't be made on this VM.
  ['key-unknown', EXIT.usage],
  ['bad-key', EXIT.usage],
  ['usage', EXIT.usage],
  ['bad-request', EXIT.usage],
  ['bad-duration', EXIT.usage],
  ['bad-size', EXIT.usage],
  ['not-running', EXIT.notRunning],
  ['nothing-found', EXIT.nothing],
]);

/** Tells the user what went wrong and, when known, what to do; answers the exit code. */
export function reportFailure(error: unknown, err: Output): ExitCode {
  if (!(error instanceof EvictdError)) {
    const stack = error instanceof Error ? (error.stack ?? error.message) : messageOf(error);
    err.write(`evictd: this is a bug in evictd: ${redact(stack)}\n`);
    return EXIT.bug;
  }
  err.write(`evictd: ${redact(error.message)}\n`);
  if (error.remedy !== undefined) err.write(`  → ${redact(error.remedy)}\n`);
  return exitCodeOf(error.code);
}

/** Of the code of an `EvictdError`. */
export function exitCodeOf(code: string): ExitCode {
  return EXIT_BY_CODE.get(code) ?? EXIT.failed;
}
