import { boundedSignal } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { EvictdError, messageOf } from '../base/errors.ts';
import { formatDuration } from '../base/units.ts';
import type { HookRequest, HookRunner } from '../core/ports.ts';
import { askManager, complaintOf } from './manager.ts';
import { type HookFailure, createNamedRunner } from './named-runner.ts';

/** A hook that acts on a unit. */
export interface SystemdHook {
  readonly name: string;
  readonly unit: string;
  readonly action: 'start' | 'stop' | 'restart' | 'kill';
  /** With `kill`; SIGTERM by default. */
  readonly signal?: string | undefined;
}

/**
 * Acts on units with `systemctl`, which waits for the job and so for the service to have started or stopped.
 * At the timeout only the waiting ends: a unit that is just stopping is let stop by its own rules.
 */
export function createSystemdRunner(
  hooks: readonly SystemdHook[],
  { clock }: { readonly clock: Clock },
): HookRunner {
  async function act(
    hook: SystemdHook,
    request: HookRequest,
    signal: AbortSignal,
  ): Promise<HookFailure | undefined> {
    using bound = boundedSignal(clock, request.timeoutMs, signal);
    const what = `systemctl ${hook.action} ${hook.unit}`;
    try {
      const limit = { clock, limitMs: request.timeoutMs, signal: bound.signal };
      const answer = await askManager('systemctl', argumentsFor(hook), limit);
      return answer.code === 0 ? undefined : { reason: 'exit', detail: `${what}: ${complaintOf(answer)}` };
    } catch (error) {
      if (signal.aborted) return { reason: 'cancelled', detail: `${what} was no longer waited for` };
      if (!bound.signal.aborted) return { reason: 'spawn', detail: messageOf(error) };
      const limit = formatDuration(request.timeoutMs);
      return { reason: 'timeout', detail: `${what} was not done within ${limit}; the job goes on` };
    }
  }

  return createNamedRunner(hooks, clock, act);
}

function argumentsFor({ unit, action, signal }: SystemdHook): readonly string[] {
  return ['--no-ask-password', ...(signal === undefined ? [] : [`--signal=${signal}`]), action, '--', unit];
}

/** Rejects with `hook-refused` when the hook's unit doesn't exist, with `systemd-failed` when nobody knows. */
export async function inspectUnit({ unit }: SystemdHook, clock: Clock, signal: AbortSignal): Promise<void> {
  const ask = ['show', '--property=LoadState', '--value', '--', unit];
  const answer = await askManager('systemctl', ask, { clock, limitMs: INSPECT_MS, signal });
  if (answer.code !== 0) {
    throw new EvictdError('systemd-failed', `systemctl can't tell about ${unit}: ${complaintOf(answer)}`);
  }
  const state = answer.stdout.trim();
  if (state === 'loaded') return;
  throw new EvictdError('hook-refused', `the unit ${unit} can't be used: ${state}`, {
    remedy: `install it, or correct the hook's "unit" (systemctl status ${unit})`,
  });
}

const INSPECT_MS = 3000;
