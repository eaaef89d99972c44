import { setMaxListeners } from 'node:events';

import { boundedSignal, sleep } from '../../base/abort.ts';
import type { Clock } from '../../base/clock.ts';
import { EvictdError, messageOf } from '../../base/errors.ts';
import type { ConcurrencyLimit, Permit } from './concurrency-limit.ts';
import type { StoreErrorCode } from './store.ts';

export interface RetryLimits {
  /** Milliseconds that one try may take, connecting included; waiting until it may go out is not. */
  readonly tryTimeoutMs: number;
  readonly triesMax: number;
  /** The same for tries that a busy store refuses: those are cheap, and each store gets round to everybody. */
  readonly throttledTriesMax: number;
  /** A try that takes longer gets a second one beside it; in a network where all take long, later. */
  readonly hedgeAfterMs: number;
  readonly firstDelayMs: number;
  readonly delayMsMax: number;
  /** A longer `Retry-After` is cut to this: a signal doesn't say how much time it has left. */
  readonly retryAfterMsMax: number;
}

export const RETRY_DEFAULTS: RetryLimits = {
  tryTimeoutMs: 8000,
  triesMax: 5,
  throttledTriesMax: 25,
  hedgeAfterMs: 2000,
  firstDelayMs: 100,
  delayMsMax: 2000,
  retryAfterMsMax: 5000,
};

/** What a failed try means. */
export interface Failure {
  /** `taken`: what was to be created is there, perhaps by another try of the same call. */
  readonly code: StoreErrorCode | 'taken';
  /** For people, without secrets: status, service code, errno. */
  readonly reason: string;
  readonly remedy?: string;
  readonly retry:
    | { readonly kind: 'never' }
    | { readonly kind: 'backoff' }
    /** The server closed an idle connection under us; a fresh one will do. */
    | { readonly kind: 'at-once' }
    | { readonly kind: 'after'; readonly delayMs: number }
    /** Only when the credential can be renewed. */
    | { readonly kind: 'renewed' };
}

export interface Attempt<T> {
  /** For messages, as in `read job/a.bin`. */
  readonly what: string;
  /** Added to the limit of each try, for what takes longer by its size. */
  readonly extraMs?: number;
  /**
   * After so long the attempt is run a second time beside the first, and whichever succeeds first counts: a connection
   * that died without a word must not use up the window.
   */
  readonly hedgeAfterMs: number;
  run(signal: AbortSignal): Promise<T>;
}

export interface RetryDependencies {
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  explain(error: unknown): Failure;
  /** Gets a new credential; false when there is no other than the one that was refused. */
  renew(signal: AbortSignal): Promise<boolean>;
  /** Second tries beside a first one (hedges) that run now, over all attempts. */
  readonly hedges: { count: number };
  /** First tries wait until they may go out. */
  readonly limit: ConcurrencyLimit;
}

/** On a network that is only slow second tries take the bandwidth of the first ones, so they are few. */
const HEDGES_MAX = 2;
const HEDGE_AGAIN_MS = 100;
/** So long the answer of one try may come after the refusal of the other. */
const GRACE_MS = 1000;

/**
 * Runs an attempt until it succeeds, can't, or the tries are used up.
 * Every try has a time of its own, also when the work ignores its signal.
 * Rejects with an EvictdError with the code of the last `Failure`; `aborted` as soon as `signal` is.
 */
export async function withRetries<T>(
  attempt: Attempt<T>,
  limits: RetryLimits,
  dependencies: RetryDependencies,
  signal: AbortSignal,
): Promise<T> {
  // One signal spans many blocks at a time; the default of 10 listeners would print a warning.
  setMaxListeners(0, signal);
  let last: Failure | undefined;
  let renewed = false;
  let throttled = 0;
  for (let number = 1; ; number++) {
    if (signal.aborted) throw aborted(attempt.what, signal, last);
    const outcome = await onceWithin(attempt, limits, dependencies, signal);
    if (outcome.kind === 'done') return outcome.value;
    last = outcome.failure;
    if (signal.aborted) throw aborted(attempt.what, signal, last);
    if (last.code === 'throttled') throttled++;
    const isUsedUp = number - throttled >= limits.triesMax || throttled >= limits.throttledTriesMax;
    if (last.retry.kind === 'never' || isUsedUp) throw failed(attempt.what, last, number);
    if (last.retry.kind === 'renewed') {
      if (renewed || !(await renew(dependencies, limits, signal))) throw failed(attempt.what, last, number);
      renewed = true;
      continue;
    }
    try {
      await sleep(dependencies.clock, delayMs(last, number, limits, dependencies.random), signal);
    } catch {
      // sleep only ever rejects because the signal ended.
      throw aborted(attempt.what, signal, last);
    }
  }
}

type Outcome<T> = { kind: 'done'; value: T } | { kind: 'failed'; failure: Failure };

/** One try, as soon as it may go out. */
async function onceWithin<T>(
  attempt: Attempt<T>,
  limits: RetryLimits,
  dependencies: RetryDependencies,
  signal: AbortSignal,
): Promise<Outcome<T>> {
  let permit: Permit;
  try {
    permit = await dependencies.limit.acquire(attempt.extraMs ?? 0, signal);
  } catch {
    // It only ever rejects because the signal ended.
    throw aborted(attempt.what, signal, undefined);
  }
  let how: Parameters<Permit['release']>[0] = 'failed';
  try {
    if (signal.aborted) throw aborted(attempt.what, signal, undefined);
    const outcome = await once(attempt, limits, dependencies, signal);
    if (outcome.kind === 'done') how = 'answered';
    else if (outcome.failure.code === 'throttled') how = 'refused';
    return outcome;
  } finally {
    permit.release(how);
  }
}

/**
 * One try within its time, and where it takes too long the same once more beside it. Who comes too late is aborted, and
 * waited for: nobody may send on from memory that the caller takes back. Only at the end of the time nobody is, since the
 * work may ignore its signal.
 */
async function once<T>(
  attempt: Attempt<T>,
  limits: RetryLimits,
  dependencies: RetryDependencies,
  signal: AbortSignal,
): Promise<Outcome<T>> {
  const { clock, hedges } = dependencies;
  const limitMs = limits.tryTimeoutMs + (attempt.extraMs ?? 0);
  const runs = createRuns(attempt, dependencies);
  const giveUp = () => {
    const reason = `no answer within ${Math.round(limitMs)} ms`;
    const failure = { code: 'timeout', reason, retry: { kind: 'backoff' } } as const;
    runs.giveUp(failure, signal.aborted ? signal.reason : new EvictdError('timeout', reason));
  };
  let isHedged = false;
  const beginHedge = () => {
    if (!runs.areUnderWay) return;
    isHedged = hedges.count < HEDGES_MAX;
    if (!isHedged) {
      hedge = clock.timer(HEDGE_AGAIN_MS, beginHedge);
      return;
    }
    hedges.count++;
    runs.begin();
  };
  signal.addEventListener('abort', giveUp, { once: true });
  using _limit = clock.timer(limitMs, giveUp);
  runs.begin();
  let hedge = clock.timer(attempt.hedgeAfterMs, beginHedge);
  try {
    return await runs.outcome;
  } finally {
    signal.removeEventListener('abort', giveUp);
    hedge[Symbol.dispose]();
    if (isHedged) hedges.count--;
  }
}

interface Runs<T> {
  /** Settles when all have ended, or are given up. */
  readonly outcome: Promise<Outcome<T>>;
  readonly areUnderWay: boolean;
  begin(): void;
  giveUp(failure: Failure, reason: unknown): void;
}

/** An attempt that runs once or twice at the same time, and what comes of it. */
function createRuns<T>(attempt: Attempt<T>, dependencies: RetryDependencies): Runs<T> {
  const { promise, resolve, reject } = Promise.withResolvers<Outcome<T>>();
  // One for both.
  const ended = new AbortController();
  setMaxListeners(0, ended.signal);
  let underWay = 0;
  let outcome: Outcome<T> | undefined;
  let grace: Disposable | undefined;
  const settle = (found: Outcome<T>) => {
    outcome = found;
    if (--underWay > 0) return;
    grace?.[Symbol.dispose]();
    resolve(found);
  };
  const endOther = (why: string) => {
    if (underWay > 0) ended.abort(new EvictdError('aborted', why));
  };
  const onValue = (value: T) => {
    settle(outcome?.kind === 'done' ? outcome : { kind: 'done', value });
    endOther('another try was quicker');
  };
  const onError = (error: unknown) => {
    if (ended.signal.aborted && outcome !== undefined) {
      settle(outcome);
      return;
    }
    const failure = dependencies.explain(error);
    // A refusal can come from what the other one did; that shows when it is tried again.
    settle(
      outcome?.kind === 'failed' && outcome.failure.retry.kind !== 'never'
        ? outcome
        : { kind: 'failed', failure },
    );
    // The other one's answer is near then, or never comes.
    if (failure.retry.kind === 'never' && underWay > 0)
      grace = dependencies.clock.timer(GRACE_MS, () => endOther('another try was refused'));
  };
  return {
    outcome: promise,
    get areUnderWay() {
      return underWay > 0;
    },
    begin() {
      underWay++;
      attempt.run(ended.signal).then(onValue, onError).catch(reject);
    },
    giveUp(failure, reason) {
      resolve({ kind: 'failed', failure });
      ended.abort(reason);
    },
  };
}

async function renew(
  dependencies: RetryDependencies,
  limits: RetryLimits,
  signal: AbortSignal,
): Promise<boolean> {
  using bounded = boundedSignal(dependencies.clock, limits.tryTimeoutMs, signal);
  try {
    return await dependencies.renew(bounded.signal);
  } catch {
    // The caller reports the refusal that led here: it is the first cause.
    return false;
  }
}

function delayMs(failure: Failure, number: number, limits: RetryLimits, random: () => number): number {
  if (failure.retry.kind === 'at-once' && number === 1) return 0;
  const capMs = Math.min(limits.delayMsMax, limits.firstDelayMs * 2 ** (number - 1));
  // A fleet that is evicted together must not come back together: between half and all of it, and a time that the
  // server names is the same for all, so that it is stretched by up to a half, more with each try.
  if (failure.retry.kind !== 'after') return capMs * (0.5 + random() / 2);
  const afterMs = Math.min(failure.retry.delayMs, limits.retryAfterMsMax);
  return afterMs + random() * Math.min(limits.delayMsMax, Math.max(afterMs / 2, capMs));
}

function failed(what: string, failure: Failure, tries: number): EvictdError {
  const count = tries === 1 ? '' : ` (after ${tries} tries)`;
  return new EvictdError(
    failure.code,
    `could not ${what}: ${failure.reason}${count}`,
    failure.remedy === undefined ? {} : { remedy: failure.remedy },
  );
}

function aborted(what: string, signal: AbortSignal, last: Failure | undefined): EvictdError {
  const before = last === undefined || last.code === 'timeout' ? '' : `; the last try: ${last.reason}`;
  return new EvictdError('aborted', `stopped to ${what}: ${messageOf(signal.reason)}${before}`);
}
