import { boundedSignal } from '../base/abort.ts';
import type { Clock, MonotonicMs } from '../base/clock.ts';
import { errnoOf, EvictdError, messageOf } from '../base/errors.ts';
import { createHttpClient } from '../base/http.ts';
import type { HttpClient } from '../base/http.ts';
import { imdsError } from './error.ts';

/** An answer of any status, read to its end. */
export interface Answer {
  readonly status: number;
  /** The `Date` header as sent. */
  readonly date: string | undefined;
  /** When the headers arrived: the moment that `date` speaks of. */
  readonly headersAt: MonotonicMs;
  readonly body: Uint8Array;
}

export interface Question {
  readonly method: 'GET' | 'POST';
  /** Path and query, exactly as they go out. */
  readonly path: string;
  /** JSON text. */
  readonly body?: string;
}

export interface Transport {
  /**
   * Rejects with `imds-timeout`, `imds-unreachable`, `imds-too-large`, or `aborted` when the signal ended it.
   * Whatever the outcome, the request is over when it settles.
   */
  request(question: Question, timeoutMs: number, signal: AbortSignal): Promise<Answer>;
  close(): Promise<void>;
}

// Two polls and the acknowledgement; the rest is for what is asked at the start.
const CONNECTIONS_MAX = 4;
const CONNECT_MS = 3000;
const KEEP_ALIVE_MS = 30_000;

/**
 * HTTP to the metadata service: straight to it, with its own connections. The service forbids proxies and redirects.
 * Source: learn.microsoft.com/azure/virtual-machines/instance-metadata-service ("Proxies", "Security")
 */
export function createTransport(
  options: { readonly endpoint: string; readonly responseBytesMax: number },
  dependencies: { readonly clock: Clock },
): Transport {
  const { clock } = dependencies;
  const { origin } = endpointUrl(options.endpoint);
  const client = createHttpClient(
    {
      origin,
      connectionsMax: CONNECTIONS_MAX,
      connectMs: CONNECT_MS,
      idleMs: KEEP_ALIVE_MS,
      bodyBytesMax: options.responseBytesMax,
    },
    dependencies,
  );
  return {
    async request(question, timeoutMs, signal) {
      using bounded = boundedSignal(clock, timeoutMs, signal);
      try {
        return await exchange(client, question, options.responseBytesMax, bounded.signal);
      } catch (error) {
        const what = `${question.method} ${origin}${question.path}`;
        if (error instanceof EvictdError && error.code === 'imds-too-large') throw error;
        if (signal.aborted) throw new EvictdError('aborted', `${what}: given up`, { cause: error });
        if (bounded.signal.aborted) {
          throw imdsError('imds-timeout', `${what}: no whole answer within ${Math.round(timeoutMs)} ms`);
        }
        // With an errno, Node's own text only repeats it and the address.
        throw imdsError('imds-unreachable', `${what}: ${errnoOf(error) ?? messageOf(error)}`, error);
      }
    },
    close: () => client.close(),
  };
}

async function exchange(
  client: HttpClient,
  { method, path, body }: Question,
  bodyBytesMax: number,
  signal: AbortSignal,
): Promise<Answer> {
  const headers = {
    metadata: 'true',
    accept: 'application/json',
    ...(body !== undefined && { 'content-type': 'application/json' }),
  };
  const reply = await client.ask({ method, path, headers, body }, signal);
  const { status, headersAt } = reply;
  if (reply.body === undefined) {
    throw imdsError(
      'imds-too-large',
      `${method} ${path}: the answer (status ${status}) is larger than ${bodyBytesMax} bytes`,
    );
  }
  // Of a header that comes twice the last one.
  const date = [reply.headers['date']].flat().at(-1);
  return { status, date, headersAt, body: reply.body };
}

function endpointUrl(endpoint: string): URL {
  const url = URL.parse(endpoint);
  if (url === null || !['http:', 'https:'].includes(url.protocol)) {
    throw new EvictdError(
      'bad-endpoint',
      `${JSON.stringify(endpoint)} is not the URL of a metadata service`,
      {
        remedy: 'write it like http://169.254.169.254',
      },
    );
  }
  return url;
}
