import type { Clock } from '../../../base/clock.ts';
import { EvictdError } from '../../../base/errors.ts';
import { explainAzureError } from './errors.ts';
import type { ErrorContext } from './codes.ts';
import { createConcurrencyLimit } from '../concurrency-limit.ts';
import { withRetries } from '../retry.ts';
import type { Failure, RetryLimits } from '../retry.ts';

/** Tokens of an identity. They are fetched elsewhere and handed out here. */
export interface StoreTokens {
  /** The token in memory, if it lives. */
  current(): string | undefined;
  /** The same, or the next one. Rejects `no-token`. */
  token(signal: AbortSignal): Promise<string>;
  /** The service refuses `stale`. False: there is no other one. */
  renew(stale: string, signal: AbortSignal): Promise<boolean>;
}

export interface CallerDependencies {
  readonly clock: Clock;
  readonly random: () => number;
  readonly tokens: StoreTokens | undefined;
}

export interface Call<T> {
  /** For messages, as in `read job/a.bin`. */
  readonly what: string;
  /** That it moves, at most. */
  readonly bytes?: number;
  /** One try. It may run twice at the same time. */
  run(signal: AbortSignal): Promise<T>;
  /** Failures with these codes are answers, too. */
  readonly outcomes?: Partial<Readonly<Record<Failure['code'], T>>>;
}

/** The one way in which requests are made: with a limit of their number, tries, time limits and errors. */
export type Caller = <T>(call: Call<T>, signal: AbortSignal) => Promise<T>;

/** A try gets this much more time for each byte that it moves: one MiB/s is slow for any VM. */
const MS_PER_BYTE = 1000 / 1024 ** 2;
/** A request that takes so many times the slowest of late is taken for lost; a slow network slows all of them. */
const SLOW_TIMES = 3;
/** The slowest of late is forgotten by this with each success. */
const FORGETTING = 0.95;

export function createCaller(
  limits: RetryLimits & { readonly requestsMax: number },
  context: ErrorContext,
  { clock, random, tokens }: CallerDependencies,
): Caller {
  const limit = createConcurrencyLimit(limits, { clock });
  const hedges = { count: 0 };
  let slowestMs = 0;
  return async (call, signal) => {
    let token: string | undefined;
    const run = async (trySignal: AbortSignal) => {
      token = await tokens?.token(trySignal);
      const startedAt = clock.monotonicMs();
      const result = await call.run(trySignal);
      slowestMs = Math.max(clock.monotonicMs() - startedAt, slowestMs * FORGETTING);
      return result;
    };
    const attempt = {
      what: call.what,
      extraMs: (call.bytes ?? 0) * MS_PER_BYTE,
      hedgeAfterMs: Math.max(limits.hedgeAfterMs, slowestMs * SLOW_TIMES),
      run,
    };
    const explain = (error: unknown) => explainAzureError(error, context);
    const renew = async (renewSignal: AbortSignal) =>
      tokens !== undefined && token !== undefined && tokens.renew(token, renewSignal);
    try {
      return await withRetries(attempt, limits, { clock, random, explain, renew, hedges, limit }, signal);
    } catch (error) {
      // Failures are thrown with their codes.
      const code = error instanceof EvictdError ? (error.code as Failure['code']) : undefined;
      const outcome = code === undefined ? undefined : call.outcomes?.[code];
      if (outcome === undefined) throw error;
      return outcome;
    }
  };
}
