import { spawn } from 'node:child_process';

import systemdNotify from 'systemd-notify';

import { abandonOn, boundedSignal } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';

export interface NotifyBound {
  readonly clock: Clock;
  readonly limitMs: number;
  readonly signal: AbortSignal;
}

/** Sends READY and STATUS. Rejects with what the program said, or when the time is over. */
export async function notifyState(
  state: { ready: boolean; status: string },
  bound: NotifyBound,
): Promise<void> {
  using limit = boundedSignal(bound.clock, bound.limitMs, bound.signal);
  // The package can't end the program it started; that ends by itself, since it waits for the manager only so long.
  const told = systemdNotify({ ready: state.ready, status: state.status, pid: process.pid }).then(
    () => undefined,
    (reason: unknown) => {
      // A program that fails makes the package reject with its output, a text.
      throw reason instanceof Error ? reason : new EvictdError('systemd-notify', String(reason));
    },
  );
  await abandonOn(limit.signal, told);
}

/** Sends one assignment, `WATCHDOG=1`. Rejects when the program fails; kills it when the time is over. */
export async function notifyWord(
  assignment: string,
  env: { readonly NOTIFY_SOCKET: string; readonly PATH: string | undefined },
  bound: NotifyBound,
): Promise<void> {
  using limit = boundedSignal(bound.clock, bound.limitMs, bound.signal);
  await new Promise<void>((resolve, reject) => {
    const child = spawn('systemd-notify', [assignment], {
      env: { ...env, PATH: env.PATH ?? SYSTEM_PATH },
      stdio: 'ignore',
      signal: limit.signal,
      killSignal: 'SIGKILL',
    });
    child.once('error', reject);
    child.once('close', (code, signal) => {
      if (code === 0) resolve();
      else
        reject(
          new EvictdError('systemd-notify', `systemd-notify ${assignment} ended with ${signal ?? code}`),
        );
    });
  });
}

const SYSTEM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
