import { boundedSignal } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { EvictdError, messageOf } from '../base/errors.ts';
import { sendUntilTaken } from '../base/send-until-taken.ts';
import { CLOUD_EVENT_TYPE, cloudEvent } from '../core/cloud-event.ts';
import { eventDocument } from '../core/event-document.ts';
import type { HookRequest, HookRunner } from '../core/ports.ts';
import { type HookFailure, createNamedRunner } from './named-runner.ts';

/** A hook that tells somebody of the event over HTTP. */
export interface HttpHook {
  readonly name: string;
  readonly url: string;
  readonly method: 'POST' | 'PUT' | 'PATCH';
}

export interface HttpRunnerDependencies {
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  readonly vmName: () => string | undefined;
}

/**
 * Sends the event as a CloudEvent; success is an answer of 2xx. While the hook's time lasts, what may pass (5xx, 408,
 * 429, the network) is tried again, always with the same id.
 */
export function createHttpRunner(
  hooks: readonly HttpHook[],
  { clock, random, vmName }: HttpRunnerDependencies,
): HookRunner {
  async function tell(
    hook: HttpHook,
    request: HookRequest,
    signal: AbortSignal,
  ): Promise<HookFailure | undefined> {
    using bound = boundedSignal(clock, request.timeoutMs, signal);
    const body = JSON.stringify(eventFor(request, vmName(), clock.wallMs()));
    const headers = { 'content-type': CLOUD_EVENT_TYPE };
    const { url, method } = hook;
    const where = new URL(url).origin;
    try {
      await sendUntilTaken({ url, method, headers, body, where }, { clock, random }, bound.signal);
      return undefined;
    } catch (error) {
      const detail = messageOf(error);
      if (signal.aborted) return { reason: 'cancelled', detail };
      const isRefused = error instanceof EvictdError && error.code === 'http-refused';
      return { reason: isRefused ? 'exit' : 'timeout', detail };
    }
  }

  return createNamedRunner(hooks, clock, tell);
}

function eventFor(request: HookRequest, vmName: string | undefined, wallMs: number) {
  const { drainId, event, name, stage, attempt, windowLeftMs, checkpoint, drill } = request;
  const window =
    windowLeftMs === undefined
      ? {}
      : {
          deadline: new Date(wallMs + windowLeftMs).toISOString(),
          secondsLeft: Math.max(0, Math.floor(windowLeftMs / 1000)),
        };
  const data = {
    event: eventDocument(event),
    vmName,
    hook: name,
    stage,
    attempt,
    drill,
    checkpoint,
    ...window,
  };
  return cloudEvent({
    // One for each drain: an event that was withdrawn and comes back is news, a repetition after a restart is none.
    id: `${drainId}/${name}`,
    kind: stage,
    vmName,
    eventId: event.id,
    at: wallMs,
    data,
  });
}
