import type { LookupFunction } from 'node:net';

import { reasonOf } from './abort.ts';
import type { Clock, MonotonicMs } from './clock.ts';
import { createGate } from './concurrency.ts';
import { createConnector } from './http-connection.ts';
import type { Connection } from './http-connection.ts';
import { addressOf, outcomeError, requestHead } from './http-order.ts';
import type { HttpAnswer, HttpOrigin, HttpOutcome, HttpRequest } from './http-order.ts';

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

export interface HttpReply extends HttpAnswer {
  /** When the headers arrived. */
  readonly headersAt: MonotonicMs;
  /** Undefined: it is longer than `bodyBytesMax`, and was not read to its end. */
  readonly body: Buffer | undefined;
}

/**
 * HTTP to one server over connections of its own, which are kept: through no proxy, whatever the environment says, and
 * following no redirect. A poll each second by Node's own client takes 1 ms of CPU more, by undici 10 MiB of memory.
 */
export interface HttpClient {
  /**
   * One try. Rejects with a system error, `bad-answer`, or the signal's reason. Whatever the outcome, the request is over
   * when it settles. An answer that isn't read to its end closes its connection.
   */
  ask(question: HttpQuestion, signal: AbortSignal): Promise<HttpReply>;
  /** Closes all connections; requests under way fail. */
  close(): void;
}

export function createHttpClient(
  options: HttpClientOptions,
  { clock }: { readonly clock: Clock },
): HttpClient {
  const { host } = new URL(options.origin);
  const connect = createConnector(originOf(options), options.lookup);
  const gate = createGate({ placesMax: options.connectionsMax, weightMax: 0 });
  const open = new Set<Connection>();
  /** The one that was used last is used next, so that those which aren't needed any more end. */
  const free: Connection[] = [];
  const listener = {
    onFree: (connection: Connection) => void free.push(connection),
    onEnd(connection: Connection) {
      open.delete(connection);
      const place = free.indexOf(connection);
      if (place !== -1) free.splice(place, 1);
    },
  };
  const connection = (): Connection => {
    const known = free.pop();
    if (known !== undefined) return known;
    const fresh = connect(listener);
    open.add(fresh);
    return fresh;
  };
  return {
    async ask({ method, path, headers, body, bodyBytesMax }, signal) {
      const bytes = typeof body === 'string' ? Buffer.from(body) : body;
      const length = bytes === undefined ? {} : { 'content-length': String(bytes.byteLength) };
      const head = requestHead(method, host, path, { ...headers, ...length });
      using _place = await gate.enter(0, signal);
      // It may have been aborted since.
      if (signal.aborted) throw reasonOf(signal);
      let headersAt: MonotonicMs | undefined;
      const outcome = await exchange(
        connection(),
        { head, body: bytes, answerBytesMax: bodyBytesMax, isHead: method === 'HEAD' },
        () => (headersAt = clock.monotonicMs()),
        signal,
      );
      if (outcome.kind !== 'answer') throw outcomeError(outcome);
      const { status, headers: received, body: content } = outcome;
      return { status, headers: received, headersAt: headersAt ?? clock.monotonicMs(), body: content };
    },
    close() {
      for (const one of open) one.end();
    },
  };
}

function originOf({ origin, ciphers, ca, connectMs, idleMs }: HttpClientOptions): HttpOrigin {
  const { isSecure, ...address } = addressOf(origin);
  const tls = { ...(ciphers !== undefined && { ciphers }), ...(ca !== undefined && { ca }) };
  return { ...address, ...(isSecure && { tls }), connectMs, idleMs };
}

function exchange(
  connection: Connection,
  request: HttpRequest,
  onHead: () => void,
  signal: AbortSignal,
): Promise<HttpOutcome> {
  return new Promise((resolve, reject) => {
    // Its outcome comes at once then.
    const onAbort = () => connection.end();
    const onOutcome = (outcome: HttpOutcome) => {
      signal.removeEventListener('abort', onAbort);
      if (signal.aborted) reject(reasonOf(signal));
      else resolve(outcome);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    connection.exchange(request, onOutcome, onHead);
  });
}
