import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

import type { Output } from '../../src/cli/command.ts';

/** The built program, as users run it. */
export const BUNDLE = fileURLToPath(new URL('../../dist/evictd.js', import.meta.url));

export interface Finished {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly file?: string;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Runs the bundle to its end, with nothing of this process's environment but PATH. */
export function runBundle(args: readonly string[], options: RunOptions = {}): Promise<Finished> {
  const { file = BUNDLE, cwd = '/', env = {} } = options;
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [file, ...args], {
      cwd,
      env: { PATH: process.env['PATH'] ?? '', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 30_000,
      killSignal: 'SIGKILL',
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => (stdout += chunk));
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

/** An output that remembers what was written. */
export function capture(): Output & { readonly text: () => string } {
  let text = '';
  const write = (more: string) => void (text += more);
  return { write, draw: write, isTerminal: false, text: () => text };
}
