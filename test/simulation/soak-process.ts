import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const SOAK = fileURLToPath(new URL('soak.ts', import.meta.url));
const LIMIT_MS = 120_000;

/** Runs the soak as a process of its own: what it puts in the place of modules must not reach anything else. */
export function soak(...args: readonly string[]): Promise<{ readonly ok: boolean; readonly output: string }> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [SOAK, '--jobs', '1', ...args],
      { timeout: LIMIT_MS },
      (error, stdout, stderr) => resolve({ ok: error === null, output: stdout + stderr }),
    );
  });
}
