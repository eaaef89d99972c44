import type { Clock } from '../base/clock.ts';
import type { EvictdError } from '../base/errors.ts';
import type { Log } from '../observe/log.ts';

/** IMDS trouble is never news for the drain, but an operator wants to know: once, now and then, and when it is over. */
export interface PollLog {
  onFailure(error: EvictdError): void;
  /** `dropped`: entries of the document that were broken. */
  onGood(dropped: readonly { readonly index: number; readonly reason: string }[]): void;
  /** The newest failure since the last good answer. */
  lastError(): string | undefined;
}

const REPEAT_MS = 60_000;
const DROPPED_KINDS_MAX = 50;

export function createPollLog(log: Log, clock: Clock): PollLog {
  let failures = 0;
  let last: EvictdError | undefined;
  let saidAt = 0;
  const droppedSaid = new Set<string>();
  return {
    onFailure(error) {
      failures++;
      const now = clock.monotonicMs();
      if (error.code !== last?.code || now - saidAt >= REPEAT_MS) {
        saidAt = now;
        const { code, message, remedy } = error;
        log.warn('poll failed, continuing', { code, detail: message, remedy, failures });
      }
      last = error;
    },
    onGood(dropped) {
      if (failures > 0) log.info('polls succeed again', { failures, lastCode: last?.code });
      failures = 0;
      last = undefined;
      for (const { index, reason } of dropped) {
        if (droppedSaid.has(reason) || droppedSaid.size >= DROPPED_KINDS_MAX) continue;
        droppedSaid.add(reason);
        log.warn('an entry of the events document is broken, ignoring it', { index, reason });
      }
    },
    lastError: () => last?.message,
  };
}
