import { setTimeout as sleep } from 'node:timers/promises';

import type { EvictdProcess } from '../support/evictd-process.ts';

/** Starts the daemon again whenever it ends, as systemd does. */
export interface Supervisor {
  /** One for each start. */
  readonly lives: readonly EvictdProcess[];
  /** Exit codes of lives that ended by themselves. */
  readonly exits: readonly number[];
  /** To the life that there is, if there is one. */
  signal(name: NodeJS.Signals): void;
  /** The machine is gone: no more lives. */
  end(): Promise<void>;
}

/** RestartSec of the unit. */
const RESTART_MS = 100;

export function supervise(start: () => Promise<EvictdProcess>): Supervisor {
  const lives: EvictdProcess[] = [];
  const exits: number[] = [];
  const over = new AbortController();
  let current: EvictdProcess | undefined;
  const signal = (name: NodeJS.Signals) => {
    if (current !== undefined) process.kill(current.pid, name);
  };
  const keepRunning = async () => {
    while (!over.signal.aborted) {
      current = await start();
      lives.push(current);
      if (over.signal.aborted) signal('SIGKILL');
      const { code } = await current.ended;
      current = undefined;
      if (code !== null) exits.push(code);
      await sleep(RESTART_MS);
    }
  };
  const running = keepRunning();
  return {
    lives,
    exits,
    signal,
    async end() {
      over.abort();
      signal('SIGKILL');
      await running;
    },
  };
}
