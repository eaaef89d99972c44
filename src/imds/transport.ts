import { Pool } from 'undici';

import { abandonOn, boundedSignal } from '../base/abort.ts';
import type { Clock, MonotonicMs } from '../base/clock.ts';
import { errnoOf, EvictdError, messageOf } from '../base/errors.ts';
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
   * Whatever the outcome, the request is over when it settles; only a connection may still be trying to open.
   */
  request(question: Question, timeoutMs: number, signal: AbortSignal): Promise<Answer>;
  close(): Promise<void>;
}

// Two polls, the acknowledgement, and one that may still be connecting after its request was given up.
const CONNECTIONS_MAX = 4;
const CONNECT_TIMEOUT_MS = 3000;
const KEEP_ALIVE_MS = 30_000;

/**
 * HTTP to the metadata service: straight to it, with its own connections. An undici pool of one's own knows
 * neither the proxy variables of the environment nor redirects; the service forbids both.
 * Source: learn.microsoft.com/azure/virtual-machines/instance-metadata-service ("Proxies", "Security")
 */
export function createTransport(
  options: { readonly endpoint: string; readonly responseBytesMax: number },
  dependencies: { readonly clock: Clock },
): Transport {
  const { clock } = dependencies;
  const { origin } = endpointUrl(options.endpoint);
  const pool = new Pool(origin, {
    connections: CONNECTIONS_MAX,
    pipelining: 1,
    connect: { timeout: CONNECT_TIMEOUT_MS },
    keepAliveTimeout: KEEP_ALIVE_MS,
    // Every request carries a signal with its whole time; two more timers would only race with it.
    headersTimeout: 0,
    bodyTimeout: 0,
  });
  return {
    async request(question, timeoutMs, signal) {
      using bounded = boundedSignal(clock, timeoutMs, signal);
      try {
        return await exchange(pool, question, options.responseBytesMax, bounded.signal, clock);
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
    close: () => pool.destroy(),
  };
}

async function exchange(
  pool: Pool,
  question: Question,
  bytesMax: number,
  signal: AbortSignal,
  clock: Clock,
): Promise<Answer> {
  const asked = pool.request({
    method: question.method,
    path: question.path,
    headers: {
      metadata: 'true',
      accept: 'application/json',
      ...(question.body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    body: question.body ?? null,
    signal,
  });
  // undici looks at the signal only once it has a connection. What is given up before that is never sent.
  const { statusCode, headers, body } = await abandonOn(signal, asked);
  const headersAt = clock.monotonicMs();
  const { date } = headers;
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  // The body's type says `any`; undici's bodies are made of Buffers.
  for await (const chunk of body as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > bytesMax) {
      // Leaving the loop destroys the body and its connection, so that the rest is never read.
      throw imdsError(
        'imds-too-large',
        `${question.method} ${question.path}: the answer (status ${statusCode}) is larger than ${bytesMax} bytes`,
      );
    }
    chunks.push(chunk);
  }
  return {
    status: statusCode,
    date: typeof date === 'string' ? date : undefined,
    headersAt,
    body: Buffer.concat(chunks),
  };
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
