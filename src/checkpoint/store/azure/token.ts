// INVARIANTS: at most one request to the identity endpoint is under way; a token is replaced only by a newer one,
// never by a failure; nobody waits longer than one attempt may take.
import { abandonOn, boundedSignal } from '../../../base/abort.ts';
import type { Clock, MonotonicMs } from '../../../base/clock.ts';
import { EvictdError } from '../../../base/errors.ts';
import { backoffMs } from '../../../core/backoff.ts';

/** A bearer token for Blob Storage, kept valid ahead of time. */
export interface TokenSource {
  /** The token in memory, at once while it lives; else waits for the endpoint. Rejects `no-token`. */
  token(signal: AbortSignal): Promise<string>;
  /** The token in memory, if it lives. */
  current(): string | undefined;
  /**
   * The service refuses `stale`: asks again although the token in memory looks good, unless that is another one already.
   * False when the endpoint has no other one.
   */
  renew(stale: string, signal: AbortSignal): Promise<boolean>;
  /** Begins to fetch and to renew in the background; failures are retried and show up in `lastError`. */
  start(): void;
  stop(): void;
  /** Why the newest attempt failed; undefined after a success. */
  lastError(): EvictdError | undefined;
}

/** Asks the identity endpoint. */
export interface TokenFetcher {
  /** Rejects `no-token`, or with the signal's reason. */
  fetch(signal?: AbortSignal): Promise<FetchedToken>;
}

export interface FetchedToken {
  readonly token: string;
  /** Milliseconds from now. */
  readonly lifeMs: number;
}

export interface TokenOptions {
  /** Longest wait for one answer of the endpoint. */
  readonly attemptMs: number;
}

export const TOKEN_DEFAULTS: TokenOptions = { attemptMs: 10_000 };

// A token that was just issued is good, whatever a wrong clock makes of its expiry.
const LIFE_MS_MIN = 60_000;
// It must outlive the request that carries it.
const MARGIN_MS = 10_000;
/** A token is renewed when half of its life is over, but not more often than this. */
const RENEW_MS_MIN = 30_000;
const RETRY_MS_FIRST = 1000;
const RETRY_MS_MAX = 30_000;

export interface TokenDependencies {
  readonly clock: Clock;
  readonly fetcher: TokenFetcher;
}

interface Held {
  readonly token: string;
  readonly livesUntil: MonotonicMs;
}

export function createTokenSource(options: TokenOptions, dependencies: TokenDependencies): TokenSource {
  const { clock, fetcher } = dependencies;
  let held: Held | undefined;
  let error: EvictdError | undefined;
  let pending: Promise<string> | undefined;
  let lifetime = new AbortController();

  function current(): string | undefined {
    return held !== undefined && clock.monotonicMs() < held.livesUntil ? held.token : undefined;
  }

  async function attempt(): Promise<string> {
    using bounded = boundedSignal(clock, options.attemptMs, lifetime.signal);
    try {
      const { token, lifeMs } = await abandonOn(bounded.signal, fetcher.fetch(bounded.signal));
      held = { token, livesUntil: clock.monotonicMs() + Math.max(lifeMs - MARGIN_MS, LIFE_MS_MIN) };
      error = undefined;
      return token;
    } catch (failure) {
      error = isNoToken(failure) ? failure : noAnswer(options.attemptMs);
      throw error;
    }
  }

  function ask(): Promise<string> {
    pending ??= attempt().finally(() => {
      pending = undefined;
    });
    return pending;
  }

  const renewal = createRenewal(clock, async () => {
    await ask();
    const lifeMs = held === undefined ? 0 : held.livesUntil - clock.monotonicMs();
    return Math.max(lifeMs / 2, RENEW_MS_MIN);
  });
  return {
    current,
    lastError: () => error,
    async token(signal) {
      return current() ?? (await abandonOn(signal, ask()));
    },
    async renew(stale, signal) {
      const known = current();
      if (known !== undefined && known !== stale) return true;
      return (await abandonOn(signal, ask())) !== stale;
    },
    start: () => renewal.start(),
    stop() {
      renewal.stop();
      lifetime.abort(new EvictdError('aborted', 'the store was closed'));
      lifetime = new AbortController();
    },
  };
}

/** Calls `ask` at once and then again and again: when that says after a success, sooner after a failure. */
function createRenewal(clock: Clock, ask: () => Promise<number>) {
  // One object per start, so that a turn that was under way at `stop` does not go on after the next start.
  let run: object | undefined;
  let timer: Disposable | undefined;

  async function turn(mine: object, failures: number): Promise<void> {
    let failed = 0;
    let delayMs: number;
    try {
      delayMs = await ask();
    } catch {
      // Kept as the source's `lastError`; the token in memory stays in use for as long as it lives.
      failed = failures + 1;
      delayMs = backoffMs(failed, RETRY_MS_FIRST, RETRY_MS_MAX);
    }
    if (run !== mine) return;
    timer = clock.timer(delayMs, () => void turn(mine, failed));
  }

  return {
    start() {
      if (run !== undefined) return;
      run = {};
      void turn(run, 0);
    },
    stop() {
      run = undefined;
      timer?.[Symbol.dispose]();
    },
  };
}

function isNoToken(error: unknown): error is EvictdError {
  return error instanceof EvictdError && error.code === 'no-token';
}

function noAnswer(attemptMs: number): EvictdError {
  return new EvictdError('no-token', `the identity endpoint gave no token within ${attemptMs} ms`, {
    remedy: 'check that 169.254.169.254 can be reached from this VM, without a proxy',
  });
}
