import { accessSync, constants } from 'node:fs';
import path from 'node:path';

import type { Clock } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
import { formatDuration } from '../base/units.ts';
import type { Done, Run } from '../control/protocol.ts';
import { DEFAULT_OUTPUT_LIMITS } from '../hooks/output.ts';
import { type ProcessEnd, runProcess } from '../hooks/process.ts';
import type { Invocation } from './command.ts';

/** Runs the command of `evictd hook`. */
export interface ClientHook {
  /** Rejects with nothing but the signal's reason: how the command ended is the answer. */
  run(run: Run, signal: AbortSignal): Promise<Done>;
  cancel(runId: string): void;
}

/** Kept of the time for the answer, so that the daemon hears how the command ended; never more than a tenth. */
const ANSWER_MS = 250;
/** From SIGTERM to SIGKILL, and never more than a quarter of the time. */
const GRACE_MS = 1000;

/**
 * A daemon that was started again asks again, since it doesn't know the result: the command isn't run twice for that,
 * its result (also one that is yet to come) is the answer. Throws `usage` when there is no such program.
 */
export async function createClientHook(
  argv: readonly string[],
  dependencies: { readonly clock: Clock } & Pick<Invocation, 'env' | 'out' | 'err'>,
): Promise<ClientHook> {
  const file = findProgram(argv[0] ?? '', dependencies.env['PATH'] ?? '');
  let last:
    | { readonly work: string; readonly done: Promise<Done>; readonly abort: AbortController }
    | undefined;
  let lastRunId: string | undefined;
  return {
    run({ id, attempt, timeoutSeconds, environment, event }, signal) {
      const work = `${environment['EVICTD_STAGE'] ?? ''} ${event.EventId}`;
      lastRunId = id;
      if (attempt > 1 && last?.work === work) return last.done;
      const abort = new AbortController();
      signal.addEventListener('abort', () => abort.abort(signal.reason), {
        once: true,
        signal: abort.signal,
      });
      const input = `${JSON.stringify(event)}\n`;
      const done = runOnce(file, argv, { environment, input, timeoutSeconds }, dependencies, abort.signal);
      last = { work, done, abort };
      return done;
    },
    cancel(runId) {
      if (runId === lastRunId) last?.abort.abort(new EvictdError('cancelled', 'the daemon cancelled it'));
    },
  };
}

async function runOnce(
  file: string,
  argv: readonly string[],
  run: {
    readonly environment: Readonly<Record<string, string>>;
    readonly input: string;
    readonly timeoutSeconds: number;
  },
  { clock, env, out, err }: Parameters<typeof createClientHook>[1],
  signal: AbortSignal,
): Promise<Done> {
  const timeoutMs = run.timeoutSeconds * 1000;
  const killAt = clock.monotonicMs() + timeoutMs - Math.min(ANSWER_MS, timeoutMs / 10);
  const graceMs = Math.min(GRACE_MS, timeoutMs / 4);
  const environment = { ...env, ...run.environment };
  const spec = { file, command: file, argv0: argv[0] ?? file, arguments: argv.slice(1), cwd: process.cwd() };
  try {
    const end = await runProcess(
      { ...spec, environment, input: run.input },
      { termAt: killAt - graceMs, killAt, graceMs, output: DEFAULT_OUTPUT_LIMITS },
      {
        clock,
        onOutput: ({ stream, text }) => (stream === 'stdout' ? out : err).write(`${text}\n`),
      },
      signal,
    );
    return describe(file, end, run.timeoutSeconds);
  } catch (error) {
    if (error instanceof EvictdError) return { ok: false, detail: error.message };
    throw error;
  }
}

function describe(file: string, { cause, signal, code }: ProcessEnd, timeoutSeconds: number): Done {
  if (cause === 'timeout') {
    return { ok: false, detail: `${file} did not end within ${formatDuration(timeoutSeconds * 1000)}` };
  }
  if (cause === 'cancelled') return { ok: false, detail: `${file} was cancelled` };
  if (signal !== null) return { ok: false, detail: `${file} was ended by ${signal}` };
  return code === 0 ? { ok: true } : { ok: false, detail: `${file} ended with exit code ${code}` };
}

/** As a shell looks it up; now, since the notice is a bad moment to learn that it is missing. */
function findProgram(program: string, searchPath: string): string {
  const places = program.includes('/') ? [''] : searchPath.split(':').filter((folder) => folder !== '');
  for (const place of places) {
    const file = path.resolve(place, program);
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      // Not this one.
    }
  }
  throw new EvictdError('usage', `${JSON.stringify(program)} is no program that can be executed`, {
    remedy: 'give its path, or a name that is in PATH',
  });
}
