import { boundedSignal, sleep } from './abort.ts';
import type { Clock } from './clock.ts';
import { EvictdError, errnoOf, messageOf } from './errors.ts';
import { createHttpClient } from './http-client.ts';
import type { HttpClient } from './http-client.ts';

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
  using connection = connect(origin, clock);
  let last = new EvictdError('http-failed', `${message.where} was not reached in time`);
  for (let pauseMs = PAUSE_FIRST_MS; !signal.aborted; pauseMs = Math.min(pauseMs * 2, PAUSE_CAP_MS)) {
    try {
      using bound = boundedSignal(clock, TRY_MS_MAX, signal);
      return await sendOnce(message, connection.client, pathname + search, bound.signal);
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
  client: HttpClient,
  path: string,
  signal: AbortSignal,
): Promise<void> {
  const question = { path, method, headers, body, bodyBytesMax: ANSWER_BYTES_MAX };
  const { status } = await client.ask(question, signal);
  if (status >= 200 && status < 300) return;
  const said = `${where} answered ${status}`;
  if (status >= 500 || status === 408 || status === 429) throw new EvictdError('http-failed', said);
  throw new EvictdError('http-refused', said, {
    remedy: status < 400 ? 'name the address that it redirects to' : 'check the address and what it accepts',
  });
}

function failed({ where }: HttpMessage, error: unknown): EvictdError {
  if (error instanceof EvictdError && error.code === 'http-failed') return error;
  // Messages of the network name hosts and addresses, never the path.
  const why = error instanceof EvictdError ? messageOf(error) : (errnoOf(error) ?? 'no usable answer');
  return new EvictdError('http-failed', `${where} was not reached: ${why}`);
}

function connect(origin: string, clock: Clock): Disposable & { readonly client: HttpClient } {
  const client = createHttpClient(
    { origin, connectionsMax: 1, connectMs: TRY_MS_MAX, idleMs: TRY_MS_MAX },
    { clock },
  );
  return { client, [Symbol.dispose]: () => client.close() };
}
