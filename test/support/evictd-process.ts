import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';

import { z } from 'zod';

/** The built program, as users run it. */
const BUNDLE = fileURLToPath(new URL('../../dist/evictd.js', import.meta.url));
/**
 * For tests with processes of their own, which wait for each other on a busy machine; what they wait for has a shorter
 * bound, so that a failure says what did not come.
 */
export const PROCESS_TEST_MS = 60_000;
const LINE_MS = 25_000;

/** The kernel kills it with this process, which is itself killed when one of its tests hangs. */
const DIES_WITH_US = existsSync('/usr/bin/setpriv') ? ['/usr/bin/setpriv', '--pdeathsig', 'KILL', '--'] : [];

/** A line of the daemon's log; lines about decisions have a `code`. */
const LogLine = z.looseObject({
  level: z.string(),
  time: z.string(),
  msg: z.string(),
  code: z.string().optional(),
});
export type LogLine = z.infer<typeof LogLine>;

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** `evictd` in a process of its own. Disposing it kills it, so that no test leaves a daemon behind. */
export interface EvictdProcess extends AsyncDisposable {
  readonly pid: number;
  /** Its log so far. */
  readonly log: readonly LogLine[];
  /** All that it wrote to stdout and stderr, as it is. */
  output(): string;
  /** The first line (also an earlier one) whose message or code is `what` and which has these fields. */
  line(what: string, fields?: Readonly<Record<string, unknown>>): Promise<LogLine>;
  /** SIGKILL, at the moment of the call; resolves when the process is gone. */
  kill(): Promise<void>;
  /** SIGTERM; resolves when it has ended by itself. */
  stop(): Promise<Ended>;
  readonly ended: Promise<Ended>;
}

export interface ProcessOptions {
  /** Beside PATH, which is all it gets of this process's environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Arguments of Node itself. */
  readonly nodeArguments?: readonly string[];
}

export function startEvictd(args: readonly string[], options: ProcessOptions = {}): EvictdProcess {
  const { env = {}, nodeArguments = [] } = options;
  const [program, ...before] = [...DIES_WITH_US, process.execPath];
  const child = spawn(program ?? '', [...before, ...nodeArguments, BUNDLE, ...args], {
    cwd: '/',
    env: { PATH: process.env['PATH'] ?? '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const { pid } = child;
  if (pid === undefined) throw new Error('evictd could not be started');
  const log: LogLine[] = [];
  const watchers = new Set<() => void>();
  const read = (stream: Readable, texts: string[]) =>
    createInterface({ input: stream }).on('line', (text) => {
      texts.push(text);
      const line = parseLine(text);
      if (line === undefined) return;
      log.push(line);
      for (const watcher of watchers) watcher();
    });
  const stdout: string[] = [];
  const stderr: string[] = [];
  read(child.stdout, stdout);
  read(child.stderr, stderr);
  const output = () => [...stdout, ...stderr].join('\n');
  let over = false;
  const ended = new Promise<Ended>((resolve) => {
    child.once('close', (code, signal) => {
      over = true;
      for (const watcher of watchers) watcher();
      resolve({ code, signal });
    });
  });
  const kill = async () => {
    child.kill('SIGKILL');
    await ended;
  };
  return {
    pid,
    log,
    output,
    line: (what, fields = {}) =>
      waitForLine(watchers, what, {
        found: () => log.find((line) => (line.msg === what || line.code === what) && has(line, fields)),
        isOver: () => over,
        shown: () => `${JSON.stringify(fields)} in\n${output()}`,
      }),
    kill,
    async stop() {
      child.kill('SIGTERM');
      return ended;
    },
    ended,
    [Symbol.asyncDispose]: kill,
  };
}

/** Runs a command to its end. */
export async function runEvictd(
  args: readonly string[],
  options: ProcessOptions = {},
): Promise<Ended & { readonly output: string }> {
  await using running = startEvictd(args, options);
  const timer = setTimeout(() => void running.kill(), LINE_MS * 2);
  try {
    return { ...(await running.ended), output: running.output() };
  } finally {
    clearTimeout(timer);
  }
}

function parseLine(text: string): LogLine | undefined {
  if (!text.startsWith('{')) return undefined;
  const line = LogLine.safeParse(JSON.parse(text));
  return line.success ? line.data : undefined;
}

/** Compares simple values only; an expected array has to be contained. */
function has(line: LogLine, fields: Readonly<Record<string, unknown>>): boolean {
  return Object.entries(fields).every(([name, value]) => line[name] === value);
}

interface Search {
  readonly found: () => LogLine | undefined;
  readonly isOver: () => boolean;
  readonly shown: () => string;
}

async function waitForLine(watchers: Set<() => void>, what: string, search: Search): Promise<LogLine> {
  const result = Promise.withResolvers<LogLine>();
  const look = () => {
    const line = search.found();
    if (line !== undefined) result.resolve(line);
    else if (search.isOver()) result.reject(new Error(`evictd ended without "${what}" ${search.shown()}`));
  };
  const timer = setTimeout(
    () => result.reject(new Error(`no "${what}" within ${LINE_MS} ms ${search.shown()}`)),
    LINE_MS,
  );
  watchers.add(look);
  try {
    look();
    return await result.promise;
  } finally {
    watchers.delete(look);
    clearTimeout(timer);
  }
}
