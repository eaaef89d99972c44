import { Agent as HttpAgent, request as requestHttp } from 'node:http';
import type { ClientRequest, IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as requestHttps } from 'node:https';
import type { LookupFunction } from 'node:net';

import { reasonOf } from './abort.ts';
import type { Clock, MonotonicMs } from './clock.ts';

export interface HttpClientOptions {
  /** `http://host:port` or `https://host:port`. */
  readonly origin: string;
  /** More requests wait for one, inside their own time limit. */
  readonly connectionsMax: number;
  /** For opening a connection, TLS included. */
  readonly connectMs: number;
  /** After so long without a request a connection is closed. */
  readonly idleMs: number;
  readonly ciphers?: string | undefined;
  /** PEM of the authority to trust in place of the built-in ones. */
  readonly ca?: string | undefined;
  readonly lookup?: LookupFunction | undefined;
}

export interface HttpQuestion {
  readonly method: string;
  /** Path and query, exactly as they go out. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array | undefined;
  /** No more of the answer's body is read. */
  readonly bodyBytesMax: number;
}

export interface HttpReply {
  readonly status: number;
  /** By lower-case name. */
  readonly headers: IncomingHttpHeaders;
  /** When the headers arrived. */
  readonly headersAt: MonotonicMs;
  /** Undefined: it is longer than `bodyBytesMax`, and was not read to its end. */
  readonly body: Buffer | undefined;
}

/**
 * HTTP to one server over connections of its own, which are kept: through no proxy, whatever the environment says, and
 * following no redirect. By Node's own client: undici and fetch take 10 MiB more for as long as the process runs.
 */
export interface HttpClient {
  /**
   * One try. Rejects with a system error or with the signal's reason. Whatever the outcome, the request is over when it
   * settles. An answer that isn't read to its end closes its connection.
   */
  ask(question: HttpQuestion, signal: AbortSignal): Promise<HttpReply>;
  /** Closes all connections; requests under way fail. */
  close(): void;
}

/** A connection on which nothing moves is asked whether it still lives. */
const PROBE_MS = 30_000;

export function createHttpClient(
  options: HttpClientOptions,
  { clock }: { readonly clock: Clock },
): HttpClient {
  const { origin, connectionsMax, connectMs, idleMs, ciphers, ca, lookup } = options;
  const { protocol, hostname, port } = new URL(origin);
  const isSecure = protocol === 'https:';
  const agent = new (isSecure ? HttpsAgent : HttpAgent)({
    keepAlive: true,
    keepAliveMsecs: PROBE_MS,
    maxSockets: connectionsMax,
    maxFreeSockets: connectionsMax,
    // Those that aren't needed any more end.
    scheduling: 'lifo',
    timeout: idleMs,
    // An empty environment: no proxy, also under NODE_USE_ENV_PROXY.
    proxyEnv: {},
    ...(lookup !== undefined && { lookup }),
    ...(isSecure && ciphers !== undefined && { ciphers }),
    ...(isSecure && ca !== undefined && { ca }),
  });
  const send = isSecure ? requestHttps : requestHttp;
  const server = { agent, hostname: hostname.replace(/^\[|\]$/g, ''), port };
  return {
    ask: (question, signal) =>
      new Promise((resolve, reject) => {
        if (signal.aborted) return reject(reasonOf(signal));
        const { method, path, headers, body, bodyBytesMax } = question;
        const request = send({ ...server, method, path, headers });
        const onAbort = () => {
          request.destroy();
          reject(reasonOf(signal));
        };
        signal.addEventListener('abort', onAbort, { once: true });
        request.once('close', () => signal.removeEventListener('abort', onAbort));
        let answer: IncomingMessage | undefined;
        request.on('error', (error) => {
          // What comes after a whole answer, such as the body of a 204, is no part of it.
          if (answer?.complete !== true) reject(error);
        });
        request.once('response', (received) => {
          answer = received;
          readReply(received, { clock, bodyBytesMax, resolve, reject });
        });
        limitConnecting(request, { clock, connectMs, isSecure });
        request.end(body);
        return undefined;
      }),
    close: () => agent.destroy(),
  };
}

interface Reading {
  readonly clock: Clock;
  readonly bodyBytesMax: number;
  readonly resolve: (reply: HttpReply) => void;
  readonly reject: (error: Error) => void;
}

function readReply(answer: IncomingMessage, { clock, bodyBytesMax, resolve, reject }: Reading): void {
  const { statusCode: status = 0, headers } = answer;
  const head = { status, headers, headersAt: clock.monotonicMs() };
  const chunks: Buffer[] = [];
  let left = bodyBytesMax;
  const cut = () => {
    resolve({ ...head, body: undefined });
    answer.destroy();
  };
  answer.on('error', reject);
  // No encoding is set, so these are buffers.
  answer.on('data', (chunk: Buffer) => {
    left -= chunk.length;
    if (left < 0) cut();
    else chunks.push(chunk);
  });
  answer.once('end', () => resolve({ ...head, body: Buffer.concat(chunks) }));
}

/** A request has a time limit of its own, which may be long; a server that can't be reached is known sooner. */
function limitConnecting(
  request: ClientRequest,
  { clock, connectMs, isSecure }: { clock: Clock; connectMs: number; isSecure: boolean },
): void {
  request.once('socket', (socket) => {
    if (!socket.connecting) return;
    const timer = clock.timer(connectMs, () =>
      request.destroy(
        Object.assign(new Error(`not connected within ${connectMs} ms`), { code: 'ETIMEDOUT' }),
      ),
    );
    const stop = () => timer[Symbol.dispose]();
    socket.once(isSecure ? 'secureConnect' : 'connect', stop);
    socket.once('close', stop);
  });
}
