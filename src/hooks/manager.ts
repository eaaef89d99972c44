import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';

import { boundedSignal } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { EvictdError, errnoOf } from '../base/errors.ts';
import { DEFAULT_PATH } from './environment.ts';

/** How a program of systemd ended. */
export interface ManagerAnswer {
  readonly code: number | null;
  /** The beginning of it, unless it went to `onStdout`. */
  readonly stdout: string;
  readonly stderr: string;
}

export interface ManagerBound {
  readonly clock: Clock;
  /** The program is killed after this long; what it asked of the manager may go on. */
  readonly limitMs: number;
  readonly signal?: AbortSignal;
}

const OUTPUT_MAX = 16 * 1024;

/**
 * Runs one of systemd's programs. As root they reach the service manager over a socket of its own, without D-Bus and
 * polkit, and also out of a sandbox. Rejects with `systemd-failed` when it can't be started or takes too long.
 */
export async function askManager(
  program: 'systemctl' | 'systemd-run' | 'journalctl',
  args: readonly string[],
  bound: ManagerBound,
  onStdout?: (chunk: Buffer) => void,
): Promise<ManagerAnswer> {
  using limit = boundedSignal(bound.clock, bound.limitMs, bound.signal);
  const child = spawn(program, args, {
    env: { PATH: DEFAULT_PATH, LC_ALL: 'C.UTF-8', SYSTEMD_PAGER: '' },
    stdio: ['ignore', 'pipe', 'pipe'],
    signal: limit.signal,
    killSignal: 'SIGKILL',
  });
  const texts = { stdout: '', stderr: '' };
  const keep = (name: keyof typeof texts) => (chunk: Buffer) => {
    if (texts[name].length < OUTPUT_MAX) texts[name] += chunk.toString('utf8');
  };
  child.stdout.on('data', onStdout ?? keep('stdout'));
  child.stderr.on('data', keep('stderr'));
  return await new Promise((resolve, reject) => {
    child.once('error', (error) => {
      const why = limit.signal.aborted ? 'gave no answer in time' : `can't be run (${errnoOf(error)})`;
      reject(new EvictdError('systemd-failed', `${program} ${why}`, { cause: error }));
    });
    child.once('close', (code) => resolve({ code, ...texts }));
  });
}

/** The first line of what a program of systemd has to complain about. */
export function complaintOf({ code, stderr }: ManagerAnswer): string {
  return stderr.trim().split('\n')[0] || `it ended with exit code ${code}`;
}

/**
 * Is this process a service of systemd that may make units? Not in a shell of somebody's, whatever runs the machine:
 * what is tried out there should be seen and end there.
 */
export function mayMakeUnits(env: Readonly<Record<string, string | undefined>>): boolean {
  return env['NOTIFY_SOCKET'] !== undefined && canMakeUnits();
}

/** Could a service here make units? */
export function canMakeUnits(): boolean {
  return process.geteuid?.() === 0 && existsSync('/run/systemd/system');
}
