import { type ChildProcess, spawn } from 'node:child_process';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { pattern } from '../support/file-tree.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { writeLauncher } from '../support/packaged-evictd.ts';
import { startSink } from './sink.ts';

const BUNDLE = fileURLToPath(new URL('../../dist/evictd.js', import.meta.url));
const WAIT_MS_MAX = 30_000;

/** A way to start the daemon, and what else polls. */
export interface Program {
  readonly name: string;
  readonly argv: readonly [string, ...string[]];
  readonly env?: Readonly<Record<string, string>>;
}

/** A VM on which everything is configured. */
export interface StartRig extends AsyncDisposable {
  readonly folder: string;
  readonly imdsUrl: string;
  /** As the package starts it, with compiled code kept in `cache`. */
  tuned(name: string, cache: string | undefined): Promise<Program>;
  /** The bundle under plain Node. */
  readonly plain: Program;
  /** Starts it; several may run, each with a state of its own. */
  start(program: Program): Promise<Started>;
}

export interface Started extends AsyncDisposable {
  readonly pid: number;
  /** From the start of the process to the moment at which its first poll came in. */
  readonly firstPollMs: number;
  /** The log has a line with this text. */
  said(text: string): Promise<void>;
}

export async function createStartRig(folder: string): Promise<StartRig> {
  await using stack = new AsyncDisposableStack();
  const imds = stack.use(await startTestImds());
  const sink = stack.use(await startSink(folder, { keep: '/packs/' }));
  const job = join(folder, 'job');
  await mkdir(job);
  await writeFile(join(job, 'model'), pattern(32 * 1024 ** 2, 1));
  for (let file = 0; file < 200; file++) await writeFile(join(job, `shard-${file}`), pattern(16_384, file));
  await writeFile(join(folder, 'webhook'), 'http://127.0.0.1:9/', { mode: 0o600 });
  let machines = 0;
  const owned = stack.move();
  return {
    folder,
    imdsUrl: imds.url,
    plain: { name: 'node dist/evictd.js', argv: [process.execPath, BUNDLE] },
    async tuned(name, cache) {
      const file = join(folder, 'evictd');
      await writeLauncher(file, { isOpen: true });
      return { name, argv: [file], env: cache === undefined ? {} : { CACHE_DIRECTORY: cache } };
    },
    async start({ argv, env = {} }) {
      const place = join(folder, `machine-${++machines}`);
      await mkdir(place);
      const config = join(place, 'config.json');
      const content = configOf(imds.url, sink.url, folder, place);
      await writeFile(config, JSON.stringify(content), { mode: 0o600 });
      const [program, ...args] = argv;
      const own = { NODE_EXTRA_CA_CERTS: sink.caFile, NOTIFY_SOCKET: join(place, 'nobody.sock'), ...env };
      return startProcess(program, [...args, 'run', '--config', config], own);
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

function configOf(imds: string, store: string, folder: string, place: string) {
  return {
    imds: { endpoint: imds },
    hooks: [{ name: 'stop-workers', run: ['/bin/true'] }],
    checkpoint: {
      store: { url: store, auth: { kind: 'managed-identity' } },
      key: place.replace(/.*\//, ''),
      sets: [{ name: 'job', path: join(folder, 'job'), exclude: ['*.tmp'] }],
      every: '10m',
    },
    metrics: { listen: '127.0.0.1:0' },
    health: { listen: '127.0.0.1:0' },
    notify: [{ name: 'ops', webhook: { 'url-file': join(folder, 'webhook') } }],
    state: { dir: join(place, 'state') },
    control: { socket: join(place, 'evictd.sock') },
  };
}

async function startProcess(
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<Started> {
  const polled = firstPoll();
  const startedAt = performance.now();
  const child = spawn(program, args, {
    env: { PATH: process.env['PATH'], ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const log = linesOf(child);
  const exited = once(child, 'exit');
  const firstPollMs = (await polled) - startedAt;
  return {
    pid: child.pid ?? 0,
    firstPollMs,
    said: (text) => log.said(text),
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM');
      await exited;
    },
  };
}

/** What an administrator would write instead: it asks each second whether there is an event. */
export async function startLoop(imdsUrl: string): Promise<Started> {
  const url = `${imdsUrl}/metadata/scheduledevents?api-version=2020-07-01`;
  const script = `while :; do curl -s -H Metadata:true '${url}' | jq -e '.Events[] | select(.EventType == "Preempt")' >/dev/null; sleep 1; done`;
  return startProcess('/bin/bash', ['-c', script], {});
}

/** The next poll that the mock in this process gets. */
async function firstPoll(): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const timer = setTimeout(() => reject(new Error('nothing was polled')), WAIT_MS_MAX);
  const onRequest = (message: unknown) => {
    // The shape that Node documents for this channel.
    const { request } = message as { request: IncomingMessage };
    if (request.url?.startsWith('/metadata/scheduledevents') === true) resolve(performance.now());
  };
  subscribe('http.server.request.start', onRequest);
  try {
    return await promise;
  } finally {
    unsubscribe('http.server.request.start', onRequest);
    clearTimeout(timer);
  }
}

function linesOf({ stdout }: ChildProcess) {
  if (stdout === null) throw new Error('the daemon has no stdout');
  const lines: string[] = [];
  const reader = createInterface({ input: stdout }).on('line', (line) => lines.push(line));
  return {
    async said(text: string) {
      const signal = AbortSignal.timeout(WAIT_MS_MAX);
      while (!lines.some((line) => line.includes(text))) await once(reader, 'line', { signal });
    },
  };
}
