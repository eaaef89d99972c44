import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

import { askDaemon } from '../../src/control/client.ts';
import type { CheckpointAnswer } from '../../src/daemon/wire-control.ts';
import { writeLauncher } from '../support/packaged-evictd.ts';
import { usageOf } from '../support/process-usage.ts';
import type { Run } from './clients.ts';
import type { Sink, SinkStats } from './sink.ts';

/** The daemon with one set, as the package starts it. */
export interface DaemonOptions {
  readonly sink: Sink;
  /** Gets a folder for this daemon alone, but for the compiled code. */
  readonly folder: string;
  readonly imdsUrl: string;
  readonly key: string;
  /** The set's folder. */
  readonly source: string;
  /** Over the rest of the set. */
  readonly set?: Readonly<Record<string, unknown>>;
  /** Over the rest of the config. */
  readonly config?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string>>;
}

export interface Daemon extends AsyncDisposable {
  readonly pid: number;
  /** Takes a checkpoint, as a command or a notice would. Measured is that alone. Rejects when it fails. */
  checkpoint(): Promise<CheckpointRun>;
  /** How late a timer came that is due every 10 ms, since this was called last: the longest. */
  lateMs(): Promise<number>;
}

export interface CheckpointRun extends Run {
  /** Of the store. */
  readonly requests: number;
  readonly writes: number;
  readonly bytesIn: number;
}

/** A command of the packaged program on a config of its own. */
export interface Setup {
  readonly program: string;
  readonly config: string;
  readonly socket: string;
  readonly env: Readonly<Record<string, string>>;
}

export const SET = 'job';
const READY_MS = 20_000;
const CHECKPOINT_MS = 600_000;
/** A VM is up for minutes at least before it is evicted; what the start took, threads and memory, is given back by then. */
export const SETTLE_MS = 12_000;
/** What was seen and read within a minute is read once more; after that times are trusted. */
export const TRUST_MS = 61_000;

/** Tells how late timers come, in the main thread, without a module of its own: those are compiled and take memory. */
const LATE_PROBE = `
import{writeFileSync}from'node:fs';import{isMainThread}from'node:worker_threads';
if(isMainThread){let max=0,told=0,due=performance.now()+10;const tick=()=>{const now=performance.now();
max=Math.max(max,now-due);if(max>5&&now-told>200){writeFileSync(process.env.BENCH_LATE_FILE,max.toFixed(1)+'\\n',{flag:'a'});max=0;told=now}
due=performance.now()+10;setTimeout(tick,10).unref()};setTimeout(tick,10).unref()}`;

/** Writes config and launcher of a daemon or of single commands. */
export async function setUp(options: DaemonOptions): Promise<Setup> {
  const { sink, folder, imdsUrl, key, source, set } = options;
  const place = await mkdtemp(join(folder, 'machine-'));
  const socket = join(place, 'evictd.sock');
  const store = { url: sink.url, auth: { kind: 'sas', file: sink.signatureFile } };
  const content = {
    imds: { endpoint: imdsUrl },
    checkpoint: { store, key, sets: [{ name: SET, path: source, ...set }], background: false },
    state: { dir: join(place, 'state') },
    control: { socket },
    ...options.config,
  };
  const config = join(place, 'evictd.json');
  await writeFile(config, JSON.stringify(content), { mode: 0o600 });
  const program = join(place, 'evictd');
  await writeLauncher(program, { isOpen: true });
  return { program, config, socket, env: { NODE_EXTRA_CA_CERTS: sink.caFile, ...options.env } };
}

/** Starts it and waits until it has been idle for `settleMs`. */
export async function startDaemon(options: DaemonOptions, settleMs: number): Promise<Daemon> {
  const { program, config, socket, env } = await setUp(options);
  const { sink, folder } = options;
  const lateFile = `${config}.late`;
  await writeFile(lateFile, '');
  const child = spawn(program, ['run', '--config', config], {
    env: {
      PATH: process.env['PATH'],
      ...env,
      // systemd names the folder for the daemon only.
      CACHE_DIRECTORY: join(folder, 'cache'),
      BENCH_LATE_FILE: lateFile,
      NODE_OPTIONS: `${env['NODE_OPTIONS'] ?? ''} --import=data:text/javascript,${encodeURIComponent(LATE_PROBE)}`,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const pid = child.pid ?? 0;
  const exited = once(child, 'exit');
  const stop = async () => {
    child.kill('SIGTERM');
    await exited;
  };
  try {
    await lineWith(createInterface({ input: child.stdout }), 'checkpoint store is ready');
    await sleep(settleMs);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    pid,
    async checkpoint() {
      const before = await usageOf(pid);
      const storeBefore = await sink.stats();
      const startedAt = performance.now();
      const signal = AbortSignal.timeout(CHECKPOINT_MS);
      const asked = { body: {}, timeoutMs: CHECKPOINT_MS, signal };
      // The daemon is of this same checkout.
      const answer = (await askDaemon(socket, 'POST', '/v1/checkpoint', asked)) as CheckpointAnswer;
      const ms = performance.now() - startedAt;
      const { cpuMs, rssPeak } = await usageOf(pid);
      for (const set of answer.sets) {
        if (set.kind === 'failed') throw new Error(`evictd: ${set.code}: ${set.detail}`);
      }
      const store = since(storeBefore, await sink.stats());
      return { ms, ...store, cpuMs: cpuMs - before.cpuMs, rssPeakBytes: rssPeak };
    },
    async lateMs() {
      const lines = (await readFile(lateFile, 'utf8')).split('\n').map(Number);
      await writeFile(lateFile, '');
      return Math.max(...lines);
    },
    [Symbol.asyncDispose]: stop,
  };
}

function since(before: SinkStats, after: SinkStats) {
  return {
    requests: after.requests - before.requests,
    writes: after.writes - before.writes,
    bytesIn: after.bytesIn - before.bytesIn,
  };
}

/** What follows is read as well, so that the daemon never waits for us. */
async function lineWith(lines: AsyncIterable<string>, wanted: string): Promise<void> {
  const found = Promise.withResolvers<void>();
  const late = setTimeout(() => found.reject(new Error(`no "${wanted}" within ${READY_MS} ms`)), READY_MS);
  const read = async () => {
    for await (const line of lines) if (line.includes(wanted)) found.resolve();
    found.reject(new Error(`evictd ended without saying "${wanted}"`));
  };
  read().catch(found.reject);
  await found.promise;
  clearTimeout(late);
}
