import { randomUUID } from 'node:crypto';

import { abandonOn, boundedSignal } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
import { formatDuration } from '../base/units.ts';
import type { HookRequest, HookResult } from '../core/ports.ts';
import type { EventStream } from './event-hub.ts';
import type { Done, Run } from './protocol.ts';

// INVARIANTS:
// - A run ends once: with its client's answer, its client's end, its timeout or its abort, whichever is first.
// - An answer names its run, so that a late one never counts for another run.

/** What clients are doing at the moment. */
export interface HookRuns {
  /** Tells the client to do its work and waits for its answer, within `timeoutMs`. Never rejects. */
  run(stream: EventStream, request: HookRequest, timeoutMs: number, signal: AbortSignal): Promise<Outcome>;
  /** Throws `no-such-run` when it isn't waited for (any more). */
  done(runId: string, answer: Done): void;
  /** The client of this hook is gone. */
  gone(name: string): void;
}

export type Outcome =
  | { readonly kind: 'succeeded' }
  | Pick<Extract<HookResult, { kind: 'failed' }>, 'kind' | 'reason' | 'detail'>;

export interface HookRunsDependencies {
  readonly clock: Clock;
  /** What the client has to know to do the work. */
  readonly describe: (request: HookRequest) => Pick<Run, 'environment' | 'event'>;
}

export function createHookRuns({ clock, describe }: HookRunsDependencies): HookRuns {
  const runs = new Map<string, { readonly name: string; readonly end: (outcome: Outcome) => void }>();
  return {
    async run(stream, request, timeoutMs, signal) {
      const id = randomUUID();
      using bound = boundedSignal(clock, timeoutMs, signal);
      const { promise, resolve } = Promise.withResolvers<Outcome>();
      runs.set(id, { name: request.name, end: resolve });
      const { attempt } = request;
      stream.send('run', {
        id,
        attempt,
        timeoutSeconds: Math.round(timeoutMs) / 1000,
        ...describe(request),
      } satisfies Run);
      try {
        return await abandonOn(bound.signal, promise);
      } catch {
        const outcome = unanswered(signal.aborted, timeoutMs);
        stream.send('cancel', { id, reason: outcome.reason });
        return outcome;
      } finally {
        runs.delete(id);
      }
    },
    done(runId, { ok, detail }) {
      const found = runs.get(runId);
      if (found === undefined) {
        throw new EvictdError('no-such-run', 'nobody waits for this answer (any more)', {
          remedy: 'answer with the id of the event `run`, once, within its timeoutSeconds',
        });
      }
      const failure = { kind: 'failed', reason: 'exit', detail: detail ?? 'its program says so' } as const;
      found.end(ok ? { kind: 'succeeded' } : failure);
    },
    gone(name) {
      for (const run of runs.values()) {
        if (run.name === name) {
          run.end({ kind: 'failed', reason: 'gone', detail: 'its program ended without an answer' });
        }
      }
    },
  };
}

function unanswered(isCancelled: boolean, timeoutMs: number) {
  return isCancelled
    ? ({
        kind: 'failed',
        reason: 'cancelled',
        detail: 'it was cancelled before its program answered',
      } as const)
    : ({
        kind: 'failed',
        reason: 'timeout',
        detail: `its program did not answer within ${formatDuration(timeoutMs)}`,
      } as const);
}
