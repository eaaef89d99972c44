import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';

import { type Running, run, start } from './process.ts';
import { parseLine } from './timeline.ts';

/** One pretended Spot VM: a mock metadata service, a worker that really writes, and the real daemon. */
export interface Machine {
  readonly name: string;
  readonly state: string;
  readonly config: string;
  worker(): Running;
  daemon(): Running;
  /** Announces a Preempt with this much notice; answers the event's id. */
  preempt(notice: string): Promise<string>;
  /** Ids of events that were acknowledged, as often as they were. */
  acks(): Promise<readonly string[]>;
  /** `evictd checkpoint`, as cron or a trainer would; answers what it printed. */
  checkpoint(): Promise<string>;
  /** Brings the newest checkpoint back into a folder. */
  restore(to: string): Promise<void>;
  /** What the hooks wrote down, a line per start. */
  readonly hookLog: string;
  close(): Promise<void>;
}

export interface MachineOptions {
  readonly root: string;
  readonly name: string;
  readonly storeUrl: string;
  /** Makes the stop hook take this long, so that there is a middle to be killed in. */
  readonly hookSeconds: number;
}

const EVICTD = [process.execPath, new URL('../../dist/evictd.js', import.meta.url).pathname];
const WORKER = new URL('worker.ts', import.meta.url).pathname;

export async function createMachine(options: MachineOptions): Promise<Machine> {
  const { root, name, storeUrl, hookSeconds } = options;
  const state = path.join(root, 'job');
  const config = path.join(root, 'config.yaml');
  const hookLog = path.join(root, 'hooks.log');
  await mkdir(state, { recursive: true });
  await writeHook(root, hookLog, hookSeconds);
  await writeFile(config, configText(root, storeUrl), { mode: 0o644 });
  const mock = start([...EVICTD, 'mock-imds', '--listen', '127.0.0.1:0', '--vm-name', name]);
  const url =
    /http:\/\/127\.0\.0\.1:\d+/.exec(await mock.line('the mock', (line) => line.includes('http://')))?.[0] ??
    '';
  const started: Running[] = [mock];
  const keep = (running: Running) => {
    started.push(running);
    return running;
  };
  return {
    name,
    state,
    config,
    hookLog,
    worker() {
      const worker = keep(start([process.execPath, WORKER, state]));
      // The hook needs to know whom to stop, as a real one knows its unit.
      void writeFile(path.join(root, 'worker.pid'), String(worker.child.pid));
      return worker;
    },
    daemon: () => keep(start([...EVICTD, 'run', '--config', config, '--imds', url])),
    async preempt(notice) {
      const body = JSON.stringify({ type: 'Preempt', notBefore: notice });
      const answer = await fetch(`${url}/mock/events`, {
        method: 'POST',
        body,
        signal: AbortSignal.timeout(5000),
      });
      return ((await answer.json()) as { id: string }).id; // the mock's own answer
    },
    async acks() {
      const answer = await fetch(`${url}/mock/log`, { signal: AbortSignal.timeout(5000) });
      const { acks } = (await answer.json()) as { acks: { eventId: string }[] }; // the mock's own answer
      return acks.map(({ eventId }) => eventId);
    },
    async checkpoint() {
      return (await run([...EVICTD, 'checkpoint', '--config', config])).join(' ');
    },
    async restore(to) {
      await run([...EVICTD, 'restore', '--config', config, '--set', 'job', '--to', to]);
    },
    async close() {
      await Promise.all(started.map((running) => running.stop('SIGKILL')));
    },
  };
}

export function isCode(code: string): (line: string) => boolean {
  return (line) => parseLine(line)?.code === code;
}

async function writeHook(root: string, hookLog: string, seconds: number): Promise<void> {
  const script = [
    '#!/bin/sh',
    '# Asks the worker to save and end, and waits until it has.',
    `echo "stop-worker attempt $EVICTD_ATTEMPT, $EVICTD_SECONDS_LEFT s left" >> ${hookLog}`,
    `pid=$(cat ${path.join(root, 'worker.pid')})`,
    'kill -TERM "$pid" 2>/dev/null',
    'while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done',
    `sleep ${seconds}`,
    'echo "worker stopped"',
    '',
  ].join('\n');
  await writeFile(path.join(root, 'stop-worker'), script, { mode: 0o755 });
}

function configText(root: string, storeUrl: string): string {
  return `# What an operator would write; only the folders are the demo's.
hooks:
  - name: stop-worker
    run: [${root}/stop-worker]
    timeout: 10s
checkpoint:
  store: { url: "${storeUrl}", auth: { kind: azurite } }
  key: demo
  sets:
    - { name: job, path: ${root}/job }
hooksDir: ${root}/hooks.d
state: { dir: ${root}/state }
control: { socket: ${root}/evictd.sock }
`;
}
