import type { Clock, MonotonicMs } from '../base/clock.ts';
import type { EvictdError } from '../base/errors.ts';
import type { Log } from '../observe/log.ts';

/**
 * IMDS trouble is never news for the drain, but an operator wants to know: each kind once, again after a minute, and
 * when it is over. A service that fails at every second poll must not fill the log.
 */
export interface PollLog {
  onFailure(error: EvictdError): void;
  /** `dropped`: entries of the document that were broken. */
  onGood(dropped: readonly { readonly index: number; readonly reason: string }[]): void;
  /** The newest failure since the last good answer. */
  lastError(): EvictdError | undefined;
}

const REPEAT_MS = 60_000;
const DROPPED_KINDS_MAX = 50;

export function createPollLog(log: Log, clock: Clock): PollLog {
  const isDue = createReminder(clock);
  let failures = 0;
  let last: EvictdError | undefined;
  let said = false;
  const droppedSaid = new Set<string>();
  return {
    onFailure(error) {
      failures++;
      last = error;
      if (!isDue(error.code)) return;
      said = true;
      const { code, message, remedy } = error;
      log.warn('poll failed, continuing', { code, detail: message, remedy, failures });
    },
    onGood(dropped) {
      // The end of what was not mentioned needs no mention.
      if (said) log.info('polls succeed again', { failures, lastCode: last?.code });
      said = false;
      failures = 0;
      last = undefined;
      for (const { index, reason } of dropped) {
        if (droppedSaid.has(reason) || droppedSaid.size >= DROPPED_KINDS_MAX) continue;
        droppedSaid.add(reason);
        log.warn('an entry of the events document is broken, ignoring it', { index, reason });
      }
    },
    lastError: () => last,
  };
}

/** Says why the own name is not known yet: each kind of failure once, and again after a minute. */
export function createIdentityLog(log: Log, clock: Clock): (error: EvictdError) => void {
  const isDue = createReminder(clock);
  return ({ code, message, remedy }) => {
    if (isDue(code)) log.warn('instance document not read, asking again', { code, detail: message, remedy });
  };
}

/** Error codes are a small closed set, so is this memory. */
function createReminder(clock: Clock): (code: string) => boolean {
  const saidAt = new Map<string, MonotonicMs>();
  return (code) => {
    const now = clock.monotonicMs();
    const before = saidAt.get(code);
    if (before !== undefined && now - before < REPEAT_MS) return false;
    saidAt.set(code, now);
    return true;
  };
}
