import { boundedSignal, sleep } from './abort.ts';
import type { Clock } from './clock.ts';
import { EvictdError, errnoOf, messageOf } from './errors.ts';
import { createHttpClient } from './http.ts';
import type { HttpClient, HttpReply } from './http.ts';

export interface HttpMessage {
  readonly url: string;
  readonly method: 'POST' | 'PUT' | 'PATCH';
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** What the URL is called in errors: a webhook's URL is itself a secret. */
  readonly where: string;
}

const TRY_MS_MAX = 5000;
/** Thrown away, but not without a limit. */
const ANSWER_BYTES_MAX = 64 * 1024;
const PAUSE_FIRST_MS = 250;
const PAUSE_CAP_MS = 5000;
/** Who asks for a longer pause is asked again after this: what is sent in a drain has no minute. */
const RETRY_AFTER_CAP_MS = 10_000;

/**
 * Sends until it is taken (2xx) or the signal aborts, each try within 5 s, and not before the answer's `Retry-After`
 * (10 s of it). No proxy, no redirect; the answer's body is thrown away. Rejects `http-refused` when trying again can't
 * help, `http-failed` with the last reason at the abort.
 */
export async function sendUntilTaken(
  message: HttpMessage,
  { clock, random }: { readonly clock: Clock; readonly random: () => number },
  signal: AbortSignal,
): Promise<void> {
  const { origin, pathname, search } = new URL(message.url);
  await using connection = connect(origin, clock);
  let last = new EvictdError('http-failed', `${message.where} was not reached in time`);
  for (let pauseMs = PAUSE_FIRST_MS; !signal.aborted; pauseMs = Math.min(pauseMs * 2, PAUSE_CAP_MS)) {
    let wantedMs = 0;
    try {
      using bound = boundedSignal(clock, TRY_MS_MAX, signal);
      const reply = await connection.client.ask({ ...message, path: pathname + search }, bound.signal);
      if (isTaken(reply, message)) return;
      last = new EvictdError('http-failed', `${message.where} answered ${reply.status}`);
      wantedMs = retryAfterMs(reply);
    } catch (error) {
      if (error instanceof EvictdError && error.code === 'http-refused') throw error;
      if (!signal.aborted) last = notReached(message, error);
    }
    const ownMs = pauseMs * (0.5 + random() / 2);
    await sleep(clock, Math.max(ownMs, wantedMs), signal).catch(() => undefined);
  }
  throw last;
}

/** False: another try may help. Throws `http-refused` where none does. */
function isTaken({ status }: HttpReply, { where }: HttpMessage): boolean {
  if (status >= 200 && status < 300) return true;
  if (status >= 500 || status === 408 || status === 429) return false;
  throw new EvictdError('http-refused', `${where} answered ${status}`, {
    remedy: status < 400 ? 'name the address that it redirects to' : 'check the address and what it accepts',
  });
}

/** Of the two forms that RFC 9110 has, the one that services of this kind send: whole seconds. */
function retryAfterMs({ headers }: HttpReply): number {
  const value = headers['retry-after'];
  const isSeconds = typeof value === 'string' && /^\d{1,9}$/.test(value);
  return isSeconds ? Math.min(Number(value) * 1000, RETRY_AFTER_CAP_MS) : 0;
}

function notReached({ where }: HttpMessage, error: unknown): EvictdError {
  // Messages of the network name hosts and addresses, never the path.
  const why = error instanceof EvictdError ? messageOf(error) : (errnoOf(error) ?? 'no usable answer');
  return new EvictdError('http-failed', `${where} was not reached: ${why}`);
}

function connect(origin: string, clock: Clock): AsyncDisposable & { readonly client: HttpClient } {
  const client = createHttpClient(
    {
      origin,
      connectionsMax: 1,
      connectMs: TRY_MS_MAX,
      idleMs: TRY_MS_MAX,
      bodyBytesMax: ANSWER_BYTES_MAX,
    },
    { clock },
  );
  return { client, [Symbol.asyncDispose]: () => client.close() };
}
