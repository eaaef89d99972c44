import { Pool } from 'undici';

import { boundedSignal, sleep } from './abort.ts';
import type { Clock } from './clock.ts';
import { EvictdError, errnoOf, messageOf } from './errors.ts';

export interface HttpMessage {
  readonly url: string;
  readonly method: 'POST' | 'PUT' | 'PATCH';
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** What the URL is called in errors: a webhook's URL is itself a secret. */
  readonly where: string;
}

const TRY_MS_MAX = 5000;
const PAUSE_FIRST_MS = 250;
const PAUSE_CAP_MS = 5000;

/**
 * Sends until it is taken (2xx) or the signal aborts, each try within 5 s. No proxy, no redirect; the answer's body is
 * thrown away. Rejects `http-refused` when trying again can't help, `http-failed` with the last reason at the abort.
 */
export async function sendUntilTaken(
  message: HttpMessage,
  { clock, random }: { readonly clock: Clock; readonly random: () => number },
  signal: AbortSignal,
): Promise<void> {
  const { origin, pathname, search } = new URL(message.url);
  await using connection = closing(new Pool(origin, { connections: 1, connect: { timeout: TRY_MS_MAX } }));
  let last = new EvictdError('http-failed', `${message.where} was not reached in time`);
  for (let pauseMs = PAUSE_FIRST_MS; !signal.aborted; pauseMs = Math.min(pauseMs * 2, PAUSE_CAP_MS)) {
    try {
      using bound = boundedSignal(clock, TRY_MS_MAX, signal);
      return await sendOnce(message, connection.pool, pathname + search, bound.signal);
    } catch (error) {
      if (error instanceof EvictdError && error.code === 'http-refused') throw error;
      if (!signal.aborted) last = failed(message, error);
    }
    await sleep(clock, pauseMs * (0.5 + random() / 2), signal).catch(() => undefined);
  }
  throw last;
}

async function sendOnce(
  { method, headers, body, where }: HttpMessage,
  pool: Pool,
  path: string,
  signal: AbortSignal,
): Promise<void> {
  const answer = await pool.request({ path, method, headers, body, signal });
  const { statusCode } = answer;
  // Thrown away, but not without a limit.
  await answer.body.dump({ limit: 64 * 1024 });
  if (statusCode >= 200 && statusCode < 300) return;
  const said = `${where} answered ${statusCode}`;
  if (statusCode >= 500 || statusCode === 408 || statusCode === 429)
    throw new EvictdError('http-failed', said);
  throw new EvictdError('http-refused', said, {
    remedy:
      statusCode < 400 ? 'name the address that it redirects to' : 'check the address and what it accepts',
  });
}

function failed({ where }: HttpMessage, error: unknown): EvictdError {
  if (error instanceof EvictdError && error.code === 'http-failed') return error;
  // Messages of the network name hosts and addresses, never the path.
  const why = error instanceof EvictdError ? messageOf(error) : (errnoOf(error) ?? 'no usable answer');
  return new EvictdError('http-failed', `${where} was not reached: ${why}`);
}

function closing(pool: Pool): AsyncDisposable & { readonly pool: Pool } {
  return {
    pool,
    async [Symbol.asyncDispose]() {
      await pool.destroy();
    },
  };
}
