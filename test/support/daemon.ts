import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import type { Clock } from '../../src/base/clock.ts';
import { systemClock } from '../../src/base/clock.ts';
import { loadConfig } from '../../src/config/load.ts';
import { askDaemon } from '../../src/control/client.ts';
import { runDaemon } from '../../src/daemon/daemon.ts';
import { tailing } from '../../src/daemon/log-tail.ts';
import type { Status } from '../../src/daemon/status.ts';
import { createLog } from '../../src/observe/log.ts';
import type { LogLine, LogLines } from './log-lines.ts';
import { collectLines, isMessage } from './log-lines.ts';

/** The folders of one pretended VM, on which daemons are started, one after the other or two by mistake. */
export interface Machine extends AsyncDisposable {
  readonly folder: string;
  readonly stateDir: string;
  readonly hooksDir: string;
  readonly socket: string;
  readonly configFile: string;
  /** Writes a program that notes its start and its end in the hooks' log; answers its path. */
  hook(name: string, body?: string): Promise<string>;
  /** What the hooks noted: `NAME start|end`, then `KEY=VALUE` of EVICTD_… in lower case. */
  hookLog(): Promise<string[]>;
  /** For hooks that wait with `until_ NAME`. */
  release(name: string): Promise<void>;
  /** Starts the daemon in this process and resolves once it says that it has started. */
  start(options: StartOptions): Promise<TestDaemon>;
  /** Only writes the config, for a daemon in a process of its own. */
  configure(options: StartOptions): Promise<void>;
}

export interface StartOptions {
  /** Base URL of the metadata service. */
  readonly imds: string;
  /** YAML; poll interval, folders and socket are set already and can be overridden. */
  readonly config?: string;
  readonly clock?: Clock;
  readonly dryRun?: boolean;
}

export interface TestDaemon extends AsyncDisposable {
  readonly lines: readonly LogLine[];
  waitForLog(fits: (line: LogLine) => boolean, limitMs?: number): Promise<LogLine>;
  logged(fits: (line: LogLine) => boolean): number;
  status(): Promise<Status>;
  /** As SIGTERM does; resolves when the daemon is over, rejects with what it died of. */
  stop(): Promise<void>;
  /** Only asks. */
  terminate(): void;
  readonly ended: Promise<void>;
}

const STOP_MS = 15_000;

export async function createMachine(): Promise<Machine> {
  const folder = await mkdtemp(join(tmpdir(), 'evictd-daemon-'));
  const hookLog = join(folder, 'hooks.log');
  const stateDir = join(folder, 'state');
  const hooksDir = join(folder, 'hooks.d');
  const socket = join(folder, 'evictd.sock');
  const configFile = join(folder, 'etc', 'config.yaml');
  await mkdir(join(folder, 'etc', 'conf.d'), { recursive: true, mode: 0o755 });
  const writeConfig = async ({ imds, config = '' }: StartOptions) => {
    // A daemon that was started before has read its own already.
    const base = [
      `imds: { endpoint: "${imds}", pollInterval: 250ms }`,
      `hooksDir: ${hooksDir}`,
      `state: { dir: ${stateDir} }`,
      `control: { socket: ${socket} }`,
    ];
    await writeFile(join(folder, 'etc', 'conf.d', 'zz-test.yaml'), config, { mode: 0o644 });
    await writeFile(configFile, `${base.join('\n')}\n`, { mode: 0o644 });
  };
  return {
    folder,
    stateDir,
    hooksDir,
    socket,
    configFile,
    async hook(name, body = '') {
      const file = join(folder, name);
      await mkdir(join(file, '..'), { recursive: true, mode: 0o755 });
      await writeFile(file, hookScript(name, body, folder, hookLog), { mode: 0o755 });
      return file;
    },
    async hookLog() {
      const text = await readFile(hookLog, 'utf8').catch(() => '');
      return text.split('\n').filter((line) => line !== '');
    },
    release: (name) => writeFile(join(folder, name), ''),
    async start(options) {
      await writeConfig(options);
      return startInProcess(configFile, socket, options);
    },
    configure: writeConfig,
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true, maxRetries: 3 }),
  };
}

function hookScript(name: string, body: string, folder: string, log: string): string {
  const note =
    'type=$EVICTD_EVENT_TYPE stage=$EVICTD_STAGE attempt=$EVICTD_ATTEMPT left=${EVICTD_SECONDS_LEFT-none}';
  // It ends with the test's folder: the hooks of a daemon that was killed outlive it.
  return `#!/bin/sh
until_() { while [ -d "${folder}" ] && [ ! -e "${folder}/$1" ]; do sleep 0.02; done; }
echo "${name} start ${note}" >> "${log}"
${body}
echo "${name} end" >> "${log}"
`;
}

async function startInProcess(
  configFile: string,
  socket: string,
  { clock = systemClock, dryRun = false }: StartOptions,
): Promise<TestDaemon> {
  const log = collectLines();
  const { config } = await loadConfig({ file: configFile, env: {} });
  const tail = tailing({
    write(line, done) {
      log.add(line);
      done(true);
    },
  });
  const terminating = new AbortController();
  const ended = runDaemon(
    { config, dryRun, env: { PATH: process.env['PATH'] } },
    {
      clock,
      log: createLog({ level: 'debug', journald: false, destination: tail }, { clock }),
      logLines: () => tail.lines(),
    },
    terminating.signal,
  ).finally(() => log.end('the daemon has ended'));
  // Whoever is interested awaits it; a start that fails is reported below.
  ended.catch(() => undefined);
  const daemon: TestDaemon = {
    lines: log.lines,
    waitForLog: (fits, limitMs) => log.waitFor(fits, limitMs),
    logged: (fits) => log.lines.filter(fits).length,
    async status() {
      const options = { timeoutMs: 5000, signal: AbortSignal.timeout(5000) };
      return (await askDaemon(socket, 'GET', '/v1/status', options)) as Status; // of the same build
    },
    async stop() {
      terminating.abort();
      await within(ended, 'the daemon did not stop', log);
    },
    terminate: () => terminating.abort(),
    ended,
    async [Symbol.asyncDispose]() {
      terminating.abort();
      await within(
        ended.catch(() => undefined),
        'the daemon did not stop',
        log,
      );
    },
  };
  const isStarted = isMessage(dryRun ? 'evictd started as a dry run' : 'evictd started');
  await Promise.race([log.waitFor(isStarted), ended]);
  return daemon;
}

async function within<T>(promise: Promise<T>, what: string, log: LogLines): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`${what}: ${JSON.stringify(log.lines.slice(-5), null, 1)}`)),
      STOP_MS,
    );
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
