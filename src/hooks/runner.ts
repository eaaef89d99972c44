import { boundedSignal } from '../base/abort.ts';
import type { Clock, MonotonicMs } from '../base/clock.ts';
import { EvictdError, messageOf } from '../base/errors.ts';
import { formatDuration } from '../base/units.ts';
import type { HookRequest, HookResult, HookRunner } from '../core/ports.ts';
import { withoutNul } from './environment.ts';
import { reapLeftovers } from './leftovers.ts';
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
  const hooks = new Map(options.hooks.map((hook) => [hook.name, hook]));
  const killGraceMs = options.killGraceMs ?? KILL_GRACE_MS;
  const output = { ...DEFAULT_OUTPUT_LIMITS, ...options.output };
  const isUnit = options.asUnits === true;

  async function runHook(
    request: HookRequest,
    startedAt: MonotonicMs,
    signal: AbortSignal,
  ): Promise<HookResult> {
    const hook = hooks.get(request.name);
    if (hook === undefined) {
      throw new EvictdError('hook-refused', `no hook named ${JSON.stringify(request.name)} is configured`, {
        remedy: 'it was in the config when the drain began; put it back, or let the drain end without it',
      });
    }
    const graceMs = Math.min(killGraceMs, request.timeoutMs / 4);
    const killAt = startedAt + request.timeoutMs;
    const times = { startedAt, termAt: killAt - graceMs, killAt, graceMs };
    const prepare = () => prepareProcess(hook, request, times, { ...dependencies, isUnit }, signal);
    const report = { clock, onOutput: (line: OutputLine) => onOutput({ hook: hook.name, ...line }) };
    const limits = { ...times, output };
    const end = isUnit
      ? await runUnit({ ...unitTask(hook, request), prepare }, limits, report, signal)
      : await runProcess(await prepare(), limits, report, signal);
    return resultOf(end, hook.run[0] ?? hook.name, request, clock.monotonicMs() - startedAt);
  }

  return {
    async run(request, signal) {
      const startedAt = clock.monotonicMs();
      try {
        return await runHook(request, startedAt, signal);
      } catch (error) {
        return failed(reasonOf(error), describe(error), clock.monotonicMs() - startedAt);
      }
    },
    async reapLeftovers(earlier, signal) {
      using bound = boundedSignal(clock, REAP_MS_MAX, signal);
      return await reapLeftovers(earlier, killGraceMs, clock, bound.signal);
    },
  };
}

function unitTask(hook: CommandHook, { drainId, event, stage, attempt }: HookRequest) {
  return {
    unit: hookUnit(hook.name, drainId),
    description: withoutNul(`evictd hook ${hook.name} (${stage}) for ${event.type} ${event.id}`),
    user: hook.user,
    isRepetition: attempt > 1,
  };
}

type FailureReason = Extract<HookResult, { kind: 'failed' }>['reason'];

function failed(reason: FailureReason, detail: string, durationMs: number): HookResult {
  return { kind: 'failed', reason, detail, durationMs };
}

function resultOf(end: ProcessEnd, file: string, request: HookRequest, durationMs: number): HookResult {
  const stuck = end.stuck ? '; some of it could not be killed and may still run' : '';
  const how = `${end.killed ? 'its process group had to be killed' : 'it ended after SIGTERM'}${stuck}`;
  switch (end.cause) {
    case 'timeout': {
      const limit = formatDuration(request.timeoutMs);
      return failed('timeout', `${file} did not end by itself within ${limit}; ${how}`, durationMs);
    }
    case 'cancelled':
      return failed('cancelled', `${file} was cancelled; ${how}`, durationMs);
    case undefined:
      break;
  }
  if (end.signal !== null) return failed('signal', `${file} was ended by ${end.signal}`, durationMs);
  if (end.code !== 0) {
    return failed('exit', `${file} ended with exit code ${end.code}${exitHint(end.code)}`, durationMs);
  }
  return { kind: 'succeeded', durationMs };
}

/** What a shell, env and setpriv mean by these two. */
function exitHint(code: number | null): string {
  if (code === 126) return ' (it, or a program that it calls, may not be executed by its user)';
  if (code === 127) return ' (a program that it calls was not found)';
  return '';
}

function reasonOf(error: unknown): FailureReason {
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
