import { abandonOn, boundedSignal } from '../base/abort.ts';
import type { Clock, MonotonicMs } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
import { formatDuration } from '../base/units.ts';
import type { HookRequest } from '../core/ports.ts';
import { type Account, actAs, lookUpAccount } from './account.ts';
import { eventJson, hookEnvironment } from './environment.ts';
import { checkExecutable, findExecutable } from './executable.ts';
import { reapLeftovers } from './leftovers.ts';
import type { ProcessSpec } from './process.ts';

/** A hook that is a program. */
export interface CommandHook {
  readonly name: string;
  /** The program and its arguments, without a shell: an absolute path or a bare name looked up in PATH. */
  readonly run: readonly string[];
  /** Whom it runs as, a name or a number; undefined: the daemon's user. */
  readonly user?: string | undefined;
}

export interface HookTimes {
  readonly startedAt: MonotonicMs;
  readonly termAt: MonotonicMs;
  readonly killAt: MonotonicMs;
  /** From SIGTERM to SIGKILL. */
  readonly graceMs: number;
}

interface PrepareDependencies {
  readonly clock: Clock;
  /** It becomes a unit: systemd sees to the user, and to what an earlier attempt left. */
  readonly isUnit: boolean;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/**
 * Everything that comes before a start, within the hook's own time: leftovers, user, file, environment.
 * Rejects with `hook-refused`, `hook-start`, `hook-leftovers`, `hook-cancelled` or `hook-too-late`.
 */
export async function prepareProcess(
  hook: CommandHook,
  request: HookRequest,
  times: HookTimes,
  dependencies: PrepareDependencies,
  parent: AbortSignal,
): Promise<ProcessSpec> {
  const { clock, environment } = dependencies;
  using bound = boundedSignal(clock, times.termAt - clock.monotonicMs(), parent);
  try {
    // What loses is a few looks at a file system that hangs; it starts nothing.
    const found = await abandonOn(bound.signal, inspect(hook, request, times, dependencies, bound.signal));
    const spentMs = clock.monotonicMs() - times.startedAt;
    if (clock.monotonicMs() >= times.termAt) throw tooLate(request);
    return {
      file: found.file,
      ...found.act,
      environment: hookEnvironment(environment, found.account, request, { spentMs, wallMs: clock.wallMs() }),
      input: eventJson(request.event),
    };
  } catch (error) {
    // The first cause, not what came of it inside.
    if (parent.aborted) throw new EvictdError('hook-cancelled', 'it was cancelled before it was started');
    throw bound.signal.aborted ? tooLate(request) : error;
  }
}

function tooLate(request: HookRequest): EvictdError {
  return new EvictdError(
    'hook-too-late',
    `it could not be started within ${formatDuration(request.timeoutMs)}`,
  );
}

async function inspect(
  hook: CommandHook,
  request: HookRequest,
  times: HookTimes,
  { clock, environment, isUnit }: PrepareDependencies,
  signal: AbortSignal,
) {
  signal.throwIfAborted();
  if (request.attempt > 1 && !isUnit) {
    await reapLeftovers({ eventId: request.event.id, hook: hook.name }, times.graceMs, clock, signal);
  }
  const { account, file } = await inspectProgram(hook, environment['PATH'], signal);
  return { account, file, act: await actAs(isUnit ? undefined : account, file, hook.run) };
}

/** What would run, and as whom. Rejects with `hook-refused` or `hook-start` when it can't or mustn't. */
export async function inspectProgram(
  hook: CommandHook,
  path: string | undefined,
  signal: AbortSignal,
): Promise<{ readonly account: Account | undefined; readonly file: string }> {
  const account = await lookUpAccount(hook.user, signal);
  const file = await findExecutable(hook.run[0] ?? '', path);
  await checkExecutable(file, account);
  return { account, file };
}
