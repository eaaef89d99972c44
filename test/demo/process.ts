import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

/** A child process whose output is read line by line. */
export interface Running {
  readonly child: ChildProcess;
  readonly lines: readonly string[];
  /** Resolves with the first line (also an earlier one) that fits; rejects when the process ends or time is up. */
  line(what: string, fits: (line: string) => boolean, limitMs?: number): Promise<string>;
  onLine(listener: (line: string) => void): void;
  /** Sends the signal and resolves with the exit code (undefined: died of a signal). */
  stop(signal?: NodeJS.Signals): Promise<number | undefined>;
}

const LINE_MS = 30_000;

export function start(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>> = {},
): Running {
  const [program = '', ...args] = argv;
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
  const lines: string[] = [];
  const listeners = new Set<(line: string) => void>();
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      lines.push(line);
      for (const listener of listeners) listener(line);
    });
  }
  const ended = once(child, 'close');
  return {
    child,
    lines,
    onLine: (listener) => void listeners.add(listener),
    async line(what, fits, limitMs = LINE_MS) {
      const earlier = lines.find(fits);
      if (earlier !== undefined) return earlier;
      const found = Promise.withResolvers<string>();
      const listener = (line: string) => {
        if (fits(line)) found.resolve(line);
      };
      listeners.add(listener);
      const timer = setTimeout(() => found.reject(new Error(`${what}: not within ${limitMs} ms`)), limitMs);
      void ended.then(() =>
        found.reject(new Error(`${what}: ${program} ended first:\n${lines.slice(-8).join('\n')}`)),
      );
      try {
        return await found.promise;
      } finally {
        clearTimeout(timer);
        listeners.delete(listener);
      }
    },
    async stop(signal = 'SIGTERM') {
      if (child.exitCode === null && child.signalCode === null) child.kill(signal);
      await ended;
      return child.exitCode ?? undefined;
    },
  };
}

/** Runs to the end; throws with its output when it fails. */
export async function run(argv: readonly string[]): Promise<readonly string[]> {
  const running = start(argv);
  await once(running.child, 'close');
  if (running.child.exitCode !== 0) throw new Error(`${argv.join(' ')} failed:\n${running.lines.join('\n')}`);
  return running.lines;
}
