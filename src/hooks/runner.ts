import { boundedSignal } from '../base/abort.ts';
import type { Clock, MonotonicMs } from '../base/clock.ts';
import { EvictdError, messageOf } from '../base/errors.ts';
import { formatDuration } from '../base/units.ts';
import type { HookRequest, HookRunner } from '../core/ports.ts';
import { reapLeftovers } from './leftovers.ts';
import { type HookFailure, createNamedRunner } from './named-runner.ts';
import { DEFAULT_OUTPUT_LIMITS } from './output.ts';
import type { HookOutputLine, OutputLimits, OutputLine } from './output.ts';
import { prepareProcess } from './prepare.ts';
import type { CommandHook } from './prepare.ts';
import { runProcess } from './process.ts';
import type { ProcessEnd } from './process.ts';
import { runUnit } from './unit-process.ts';
import { hookUnit } from './unit-state.ts';

export type { CommandHook } from './prepare.ts';
export type { HookOutputLine, OutputLimits } from './output.ts';

export interface HookRunnerOptions {
  readonly hooks: readonly CommandHook[];
  /** Each as a transient unit of systemd instead of a child process. */
  readonly asUnits?: boolean;
  /** From SIGTERM to SIGKILL, at most; default 1 s, and never more than a quarter of the hook's time. */
  readonly killGraceMs?: number;
  readonly output?: Partial<OutputLimits>;
}

export interface HookRunnerDependencies {
  readonly clock: Clock;
  /** Called for each line as it comes; what is over the limits ends in one line that says so. */
  readonly onOutput: (line: HookOutputLine) => void;
  /** The daemon's own environment; only a short list of names of it reaches a hook. */
  readonly environment: Readonly<Record<string, string | undefined>>;
}

export interface CommandHookRunner extends HookRunner {
  /**
   * Ends what an earlier attempt left running (the daemon was killed with -9), and answers how many processes
   * there were. Rejects with `hook-leftovers` when they could not be ended, with the signal's reason at its abort.
   * `run` does it by itself from attempt 2 on.
   */
  reapLeftovers(
    earlier: { readonly eventId: string; readonly hook: string },
    signal: AbortSignal,
  ): Promise<number>;
}

const KILL_GRACE_MS = 1000;
// For the leftovers of one hook when somebody else than `run` asks.
const REAP_MS_MAX = 5000;

/**
 * Runs hooks as child processes, each in a process group (and session) of its own, or as transient units.
 *
 * The granted `timeoutMs` holds everything: looking for leftovers, the checks, the program and the grace.
 * SIGTERM falls at `timeoutMs - grace`, SIGKILL at `timeoutMs`, the result comes within half a second after that.
 * When the program has ended, whatever its group still holds is ended as well; a hook that means to leave
 * something behind has to start it in a session of its own (`setsid`), or from a unit by `systemd-run`.
 */
export function createHookRunner(
  options: HookRunnerOptions,
  dependencies: HookRunnerDependencies,
): CommandHookRunner {
  const { clock, onOutput } = dependencies;
  const killGraceMs = options.killGraceMs ?? KILL_GRACE_MS;
  const output = { ...DEFAULT_OUTPUT_LIMITS, ...options.output };
  const isUnit = options.asUnits === true;

  async function runToEnd(
    hook: CommandHook,
    request: HookRequest,
    signal: AbortSignal,
    startedAt: MonotonicMs,
  ): Promise<ProcessEnd> {
    const graceMs = Math.min(killGraceMs, request.timeoutMs / 4);
    const killAt = startedAt + request.timeoutMs;
    const times = { startedAt, termAt: killAt - graceMs, killAt, graceMs };
    const prepare = () => prepareProcess(hook, request, times, { ...dependencies, isUnit }, signal);
    const report = { clock, onOutput: (line: OutputLine) => onOutput({ hook: hook.name, ...line }) };
    const limits = { ...times, output };
    return isUnit
      ? runUnit({ ...unitTask(hook, request), prepare }, limits, report, signal)
      : runProcess(await prepare(), limits, report, signal);
  }

  return {
    ...createNamedRunner(options.hooks, clock, (hook, request, ...rest) =>
      runToEnd(hook, request, ...rest).then(
        (end) => failureOf(end, hook.run[0] ?? hook.name, request),
        (error: unknown) => ({ reason: reasonOf(error), detail: describe(error) }),
      ),
    ),
    async reapLeftovers(earlier, signal) {
      using bound = boundedSignal(clock, REAP_MS_MAX, signal);
      return await reapLeftovers(earlier, killGraceMs, clock, bound.signal);
    },
  };
}

function unitTask(hook: CommandHook, { drainId, event, stage, attempt }: HookRequest) {
  return {
    unit: hookUnit(hook.name, drainId),
    description: `evictd hook ${hook.name} (${stage}) for ${event.type} ${event.id}`,
    user: hook.user,
    isRepetition: attempt > 1,
  };
}

function failureOf(end: ProcessEnd, file: string, request: HookRequest): HookFailure | undefined {
  const stuck = end.stuck ? '; some of it could not be killed and may still run' : '';
  const how = `${end.killed ? 'its process group had to be killed' : 'it ended after SIGTERM'}${stuck}`;
  switch (end.cause) {
    case 'timeout': {
      const limit = formatDuration(request.timeoutMs);
      return { reason: 'timeout', detail: `${file} did not end by itself within ${limit}; ${how}` };
    }
    case 'cancelled':
      return { reason: 'cancelled', detail: `${file} was cancelled; ${how}` };
    case undefined:
      break;
  }
  if (end.signal !== null) return { reason: 'signal', detail: `${file} was ended by ${end.signal}` };
  if (end.code === 0) return undefined;
  return { reason: 'exit', detail: `${file} ended with exit code ${end.code}${exitHint(end.code)}` };
}

/** What a shell, env and setpriv mean by these two. */
function exitHint(code: number | null): string {
  if (code === 126) return ' (it, or a program that it calls, may not be executed by its user)';
  if (code === 127) return ' (a program that it calls was not found)';
  return '';
}

function reasonOf(error: unknown): HookFailure['reason'] {
  switch (error instanceof EvictdError ? error.code : undefined) {
    case 'hook-refused':
      return 'refused';
    case 'hook-cancelled':
      return 'cancelled';
    case 'hook-too-late':
      return 'timeout';
    default:
      return 'spawn';
  }
}

function describe(error: unknown): string {
  const remedy = error instanceof EvictdError ? error.remedy : undefined;
  return remedy === undefined ? messageOf(error) : `${messageOf(error)}: ${remedy}`;
}
