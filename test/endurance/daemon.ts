import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { z } from 'zod';

import { writeLauncher } from '../support/packaged-evictd.ts';
import type { SpotVm } from '../support/spot-vm.ts';

const INSIDE = fileURLToPath(new URL('inside.ts', import.meta.url));
const LOOK_MS_MAX = 10_000;
const END_MS_MAX = 30_000;

/** What only the daemon's process itself can see, after it looked for garbage. Sizes in bytes. */
const Inside = z.object({
  /** Objects of the program. */
  heap: z.number(),
  /** What V8 compiles them to, and what it needs for that. */
  code: z.number(),
  external: z.number(),
  timers: z.number(),
  resources: z.number(),
});
export type Inside = z.infer<typeof Inside>;

const LogLine = z.looseObject({
  level: z.string(),
  msg: z.string(),
  code: z.string().optional(),
  failure: z.string().optional(),
});

export interface WatchedDaemon extends AsyncDisposable {
  readonly pid: number;
  /** How often the log said it: a code of the core's notes, or `LEVEL MESSAGE` of what is above info. */
  said(what: string): number;
  /** All that was said above info, with its number. */
  troubles(): ReadonlyMap<string, number>;
  look(): Promise<Inside>;
}

export interface Pace {
  readonly rate: number;
  readonly startedNs: bigint;
}

/** The daemon as the packages start it, in fast time (see inside.ts). Of its log only numbers are kept. */
export async function startWatched(
  vm: SpotVm,
  { rate, startedNs }: Pace,
  leak: boolean,
): Promise<WatchedDaemon> {
  const launcher = join(vm.folder, 'evictd');
  await writeLauncher(launcher, { isOpen: true });
  const child = spawn(launcher, ['run', '--config', vm.configFile], {
    env: {
      PATH: process.env['PATH'],
      EVICTD_IMDS_POLL_INTERVAL: '1s',
      // What takes a second on this machine takes twenty for the daemon.
      EVICTD_IMDS_REQUEST_TIMEOUT: '30s',
      NODE_OPTIONS: `--import=${INSIDE}`,
      ENDURANCE_RATE: String(rate),
      ENDURANCE_STARTED_NS: String(startedNs),
      ...(leak && { ENDURANCE_LEAK: 'yes' }),
    },
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  });
  const exited = once(child, 'exit');
  const codes = new Map<string, number>();
  const troubles = new Map<string, number>();
  const count = (counts: Map<string, number>, what: string) => counts.set(what, (counts.get(what) ?? 0) + 1);
  if (child.stdout === null || child.pid === undefined) throw new Error('evictd could not be started');
  createInterface({ input: child.stdout }).on('line', (text) => {
    const { level, msg, code, failure } = LogLine.parse(JSON.parse(text));
    count(codes, code ?? msg);
    const why = [code, failure].filter((one) => one !== undefined);
    if (level === 'warn' || level === 'error')
      count(troubles, `${level} ${msg}${why.length === 0 ? '' : ` (${why.join(', ')})`}`);
  });
  return {
    pid: child.pid,
    said: (what) => codes.get(what) ?? 0,
    troubles: () => troubles,
    async look() {
      child.send('look');
      // An argument list, about which the types say nothing.
      const [answer] = (await once(child, 'message', {
        signal: AbortSignal.timeout(LOOK_MS_MAX),
      })) as unknown[];
      return Inside.parse(answer);
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), END_MS_MAX);
      await exited;
      clearTimeout(timer);
    },
  };
}
