import type { Clock, MonotonicMs } from '../base/clock.ts';
import type { HookRequest, HookResult, HookRunner } from '../core/ports.ts';

export type HookFailure = Pick<Extract<HookResult, { kind: 'failed' }>, 'reason' | 'detail'>;

/**
 * A runner for the hooks of one kind: finds the one that is asked for, and takes the time. `act` never rejects;
 * undefined is its success.
 */
export function createNamedRunner<Hook extends { readonly name: string }>(
  hooks: readonly Hook[],
  clock: Clock,
  act: (
    hook: Hook,
    request: HookRequest,
    signal: AbortSignal,
    startedAt: MonotonicMs,
  ) => Promise<HookFailure | undefined>,
): HookRunner {
  const byName = new Map(hooks.map((hook) => [hook.name, hook]));
  return {
    async run(request, signal): Promise<HookResult> {
      const startedAt = clock.monotonicMs();
      const hook = byName.get(request.name);
      const failure =
        hook === undefined ? notConfigured(request.name) : await act(hook, request, signal, startedAt);
      const durationMs = clock.monotonicMs() - startedAt;
      return failure === undefined
        ? { kind: 'succeeded', durationMs }
        : { kind: 'failed', ...failure, durationMs };
    },
  };
}

function notConfigured(name: string): HookFailure {
  const remedy = 'it was in the config when the drain began; put it back, or let the drain end without it';
  return { reason: 'refused', detail: `no hook named ${JSON.stringify(name)} is configured: ${remedy}` };
}
