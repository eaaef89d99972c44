import { abandonOn, boundedSignal } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { EvictdError, messageOf } from '../base/errors.ts';
import { type CommandHook, inspectProgram } from './prepare.ts';
import { type SystemdHook, inspectUnit } from './systemd-runner.ts';

/** Why a hook could not be started if it had to be now. */
export interface HookFault {
  readonly hook: string;
  readonly detail: string;
  readonly remedy: string | undefined;
}

/** Directory servers that don't answer and file systems that hang end the look, not the daemon. */
const CHECK_MS = 10_000;

/**
 * Looks at each hook as the runner does before a start: its user, its program, who may write that; its unit.
 * Starts none.
 * Never rejects; it takes 10 s at most, and says so of the hook that it did not get past.
 */
export async function findHookFaults(
  commands: readonly CommandHook[],
  units: readonly SystemdHook[],
  dependencies: {
    readonly clock: Clock;
    readonly environment: Readonly<Record<string, string | undefined>>;
  },
): Promise<readonly HookFault[]> {
  const { clock, environment } = dependencies;
  using bound = boundedSignal(clock, CHECK_MS);
  const { signal } = bound;
  const checks = [
    ...commands.map((hook) => ({
      hook: hook.name,
      check: () => inspectProgram(hook, environment['PATH'], signal),
    })),
    ...units.map((hook) => ({ hook: hook.name, check: () => inspectUnit(hook, clock, signal) })),
  ];
  const faults: HookFault[] = [];
  // One after the other: there is no hurry, and the machine may be busy booting.
  for (const { hook, check } of checks) {
    try {
      await abandonOn<unknown>(signal, check());
    } catch (error) {
      const remedy = error instanceof EvictdError ? error.remedy : undefined;
      if (signal.aborted) {
        faults.push({ hook, detail: `it could not be checked within ${CHECK_MS} ms`, remedy });
        break;
      }
      faults.push({ hook, detail: messageOf(error), remedy });
    }
  }
  return faults;
}
