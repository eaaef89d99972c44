import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import type { Readable } from 'node:stream';

import type { Clock, MonotonicMs } from '../base/clock.ts';
import { EvictdError, errnoOf } from '../base/errors.ts';
import type { Act } from './account.ts';
import { createOutputLines } from './output.ts';
import type { OutputLimits, OutputLine, OutputLines } from './output.ts';
import { endGroup, signalGroup } from './process-group.ts';

// INVARIANTS:
// - One cause: the first of exit, time and abort is the result; what follows from it doesn't change it.
// - When `runProcess` settles, the group is empty (or `stuck` says not), its pipes are closed,
//   and no timer and no listener of it is left, on the caller's signal least of all.
// - It settles by `killAt` + 0.5 s, whatever the program, its children and its pipes do.
// - Output is read to the end of the program, whatever the limits: a full pipe would block it.

export interface ProcessSpec extends Act {
  /** The program itself, for messages; `command` can be setpriv. */
  readonly file: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Default: `/`. */
  readonly cwd?: string;
  /** Written to stdin, which is closed then. */
  readonly input: string;
}

export interface ProcessLimits {
  readonly termAt: MonotonicMs;
  readonly killAt: MonotonicMs;
  /** From SIGTERM to SIGKILL after an abort, unless `killAt` comes first. */
  readonly graceMs: number;
  readonly output: OutputLimits;
}

export interface ProcessEnd {
  /** Why it was ended from outside; undefined when the program ended by itself. */
  readonly cause: 'timeout' | 'cancelled' | undefined;
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** SIGKILL was needed for the program or something in its group. */
  readonly killed: boolean;
  readonly stuck: boolean;
}

// After the program's own end: for the last output, and for a `tee` or `logger` behind it to finish by itself.
const DRAIN_MS = 100;
const LEFTOVER_GRACE_MS = 100;
// From SIGKILL to giving up on a process that the kernel holds.
const EXIT_WAIT_MS = 200;
// A flood is read at some 30 MB/s: fast enough to block nobody, slow enough to leave the CPU to the upload.
const FLOOD_PAUSE_MS = 2;

/**
 * Runs one program in a process group of its own. Rejects with `hook-start` when it can't be started.
 * Its stdout and stderr are sockets, as under systemd: `>&2` works, opening `/dev/stderr` does not.
 */
export async function runProcess(
  spec: ProcessSpec,
  limits: ProcessLimits,
  dependencies: { readonly clock: Clock; readonly onOutput: (line: OutputLine) => void },
  signal: AbortSignal,
): Promise<ProcessEnd> {
  const { clock, onOutput } = dependencies;
  const { child, group } = await start(spec);
  const lines = createOutputLines(limits.output, onOutput);
  const closed = [
    readAll(child.stdout, 'stdout', lines, clock),
    readAll(child.stderr, 'stderr', lines, clock),
  ];
  // EPIPE and ECONNRESET are on purpose not looked at: a hook needn't read the event.
  child.stdin?.on('error', () => undefined);
  child.stdin?.end(spec.input);

  const exit = await waitForExit(child, group, limits, clock, signal);
  const now = clock.monotonicMs();
  const rest =
    exit.cause === undefined
      ? { termAt: now + DRAIN_MS, killAt: now + DRAIN_MS + LEFTOVER_GRACE_MS }
      : { termAt: Infinity, killAt: exit.killAt };
  const left = await endGroup(group, rest, clock);
  await drained(closed, clock);
  for (const stream of [child.stdin, child.stdout, child.stderr]) stream?.destroy();
  await Promise.all(closed);
  // A process that survives SIGKILL must not keep the daemon from exiting.
  child.unref();
  lines.end();
  if (exit.cause === undefined && left !== 'empty') {
    const what = left === 'stuck' ? 'can not be killed and may still run' : 'was ended';
    onOutput({ stream: 'stderr', text: `evictd: what the hook left in its process group ${what}` });
  }
  const stuck = left === 'stuck' || exit.stuck;
  return { ...exit, killed: exit.killed || left === 'killed' || stuck, stuck };
}

async function start(spec: ProcessSpec): Promise<{ child: ChildProcess; group: number }> {
  const child = spawnChild(spec);
  if (child.pid !== undefined) {
    // A later error is one of sending a message or a signal through the object, which nobody does.
    child.on('error', () => undefined);
    return { child, group: child.pid };
  }
  // Emitted in the next turn, whenever there is no pid.
  const error = await new Promise<unknown>((resolve) => child.once('error', resolve));
  throw startError(spec, error);
}

function spawnChild(spec: ProcessSpec): ChildProcess {
  try {
    return spawn(spec.command, spec.arguments, {
      argv0: spec.argv0,
      cwd: spec.cwd ?? '/',
      env: spec.environment,
      stdio: ['pipe', 'pipe', 'pipe'],
      // setsid: a group of its own to end, and no terminal to be stopped by.
      detached: true,
      shell: false,
      ...(spec.uid === undefined ? {} : { uid: spec.uid }),
      ...(spec.gid === undefined ? {} : { gid: spec.gid }),
    });
  } catch (error) {
    throw startError(spec, error);
  }
}

const START_REMEDIES: Readonly<Record<string, string>> = {
  ENOENT: 'it exists, so its loader is missing: it was built for another architecture or C library',
  ENOEXEC: 'it is not a program for this machine; a script needs a #! line',
  EACCES: 'the file or one of its folders is closed to the user, or the file system is mounted noexec',
  EPERM: 'evictd lacks the capabilities to change the user (CAP_SETUID, CAP_SETGID)',
  E2BIG: 'its arguments are too long',
  ETXTBSY: 'the file is just being written; replace programs by renaming',
  EAGAIN: 'the limit of processes is reached (ulimit -u, TasksMax=)',
  ENOMEM: 'the machine is out of memory',
  EMFILE: 'evictd has too many open files (LimitNOFILE=)',
  ENFILE: 'the machine has too many open files',
};

function startError(spec: ProcessSpec, error: unknown): EvictdError {
  const code = errnoOf(error) ?? 'unknown error';
  const remedy = Object.hasOwn(START_REMEDIES, code) ? START_REMEDIES[code] : undefined;
  return new EvictdError('hook-start', `${spec.file} could not be started (${code})`, {
    cause: error,
    ...(remedy === undefined ? {} : { remedy }),
  });
}

type Exit = ProcessEnd & { readonly killAt: MonotonicMs };

/** The program's end, after SIGTERM and SIGKILL to its group when time or the signal say so. */
function waitForExit(
  child: ChildProcess,
  group: number,
  limits: ProcessLimits,
  clock: Clock,
  signal: AbortSignal,
): Promise<Exit> {
  return new Promise((resolve) => {
    let cause: ProcessEnd['cause'];
    let killAt = limits.killAt;
    let killed = false;
    const timers = new DisposableStack();
    const at = (time: MonotonicMs, fire: () => void) =>
      timers.use(clock.timer(time - clock.monotonicMs(), fire));

    const finish = (code: number | null, ending: NodeJS.Signals | null, stuck: boolean) => {
      timers.dispose();
      signal.removeEventListener('abort', onAbort);
      child.removeListener('exit', onExit);
      resolve({ cause, code, signal: ending, killed, stuck, killAt });
    };
    const kill = () => {
      killed = true;
      signalGroup(group, 'SIGKILL');
      at(clock.monotonicMs() + EXIT_WAIT_MS, () => finish(null, null, true));
    };
    const stop = (why: 'timeout' | 'cancelled') => {
      if (cause !== undefined) return;
      cause = why;
      signalGroup(group, 'SIGTERM');
      killAt = Math.min(killAt, clock.monotonicMs() + limits.graceMs);
      at(killAt, kill);
    };
    const onAbort = () => stop('cancelled');
    const onExit = (code: number | null, ending: NodeJS.Signals | null) => finish(code, ending, false);

    child.once('exit', onExit);
    at(limits.termAt, () => stop('timeout'));
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
}

/** Reads a stream into lines; resolves when it is closed. */
function readAll(
  stream: Readable | null,
  name: 'stdout' | 'stderr',
  lines: OutputLines,
  clock: Clock,
): Promise<void> {
  if (stream === null) return Promise.resolve();
  return new Promise((resolve) => {
    let resumption: Disposable | undefined;
    stream.on('data', (chunk: Buffer) => {
      lines.write(name, chunk);
      if (!lines.isFlooded()) return;
      stream.pause();
      resumption = clock.timer(FLOOD_PAUSE_MS, () => stream.resume());
    });
    // A reset by the other end is one more way to end.
    stream.on('error', () => undefined);
    stream.once('close', () => {
      resumption?.[Symbol.dispose]();
      resolve();
    });
  });
}

/** A process in a session of its own may hold the pipes for ever; the last lines get this long. */
async function drained(closed: readonly Promise<void>[], clock: Clock): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = clock.timer(DRAIN_MS, resolve);
    void Promise.all(closed).then(() => {
      timer[Symbol.dispose]();
      resolve();
    });
  });
}
