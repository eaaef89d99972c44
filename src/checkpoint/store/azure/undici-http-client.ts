import type { LookupFunction } from 'node:net';
import { Readable } from 'node:stream';
import { DEFAULT_CIPHERS } from 'node:tls';

import type { HttpOperationResponse, IHttpClient, WebResource } from '@azure/storage-blob';
import type { buildConnector, Dispatcher, Pool as UndiciPool } from 'undici';
import createConnector from 'undici/lib/core/connect.js';
import Pool from 'undici/lib/dispatcher/pool.js';

import { reasonOf } from '../../../base/abort.ts';

export interface UndiciHttpClientOptions {
  /** `https://host:port`, the only one that is talked to. */
  readonly origin: string;
  /** More requests wait for one. */
  readonly connectionsMax: number;
  /** PEM of the authority to trust in place of the built-in ones. */
  readonly ca?: string | undefined;
  readonly lookup?: LookupFunction | undefined;
}

/** What the SDK sends its requests by. Rejects with undici's and Node's errors as they are, or the signal's reason. */
export interface UndiciHttpClient extends IHttpClient {
  /** Closes all connections; requests under way fail. */
  close(): Promise<void>;
}

const CONNECT_MS = 5000;
/** Far below the 4 minutes after which Azure's load balancers forget an idle connection without a word. */
const IDLE_MS = 90_000;
/** Content is handed over in pieces of this: TLS encrypts each as a whole, and so keeps a second copy of it. */
const PIECE_BYTES = 512 * 1024;
/** Of an answer, which is held in memory. No chunk, range or page is larger. */
const ANSWER_BYTES_MAX = 128 * 1024 ** 2;
/**
 * AES-128 first: half the key, two thirds of the work of AES-256, and not known to be any weaker; the service has the
 * last word. All else as Node has it.
 */
const CIPHERS = `TLS_AES_128_GCM_SHA256:${DEFAULT_CIPHERS}`;

/**
 * HTTP to one server by undici: over connections that are kept, through no proxy whatever the environment says, and
 * following no redirect. How long a request may take is its signal's business.
 */
export function createUndiciHttpClient(options: UndiciHttpClientOptions): UndiciHttpClient {
  const pool = new Pool(options.origin, {
    connections: options.connectionsMax,
    connect: connectorOf(options),
    allowH2: false,
    keepAliveTimeout: IDLE_MS,
    keepAliveMaxTimeout: IDLE_MS,
    headersTimeout: 0,
    bodyTimeout: 0,
    maxResponseSize: ANSWER_BYTES_MAX,
  });
  return {
    async sendRequest(request) {
      const { status, headers, body } = await exchange(pool, request);
      const answer = { request, status, headers: headersFor(request, headers) };
      const { streamResponseStatusCodes: streamed } = request;
      if (streamed?.has(status) === true || streamed?.has(Infinity) === true)
        return { ...answer, readableStreamBody: Readable.from([body]) };
      return { ...answer, bodyAsText: body.toString() };
    },
    close: () => pool.destroy(),
  };
}

/** undici remembers a TLS session only for as long as somebody else holds it: the newest one is held here. */
function connectorOf({ ca, lookup }: UndiciHttpClientOptions): buildConnector.connector {
  const connect = createConnector({
    allowH2: false,
    // Otherwise the environment has a say (NODE_TLS_REJECT_UNAUTHORIZED).
    rejectUnauthorized: true,
    timeout: CONNECT_MS,
    ciphers: CIPHERS,
    ...(ca !== undefined && { ca }),
    ...(lookup !== undefined && { lookup }),
  });
  const held: { session?: Buffer } = {};
  return (options, callback) =>
    connect(options, (...outcome) => {
      outcome[1]?.on('session', (session: Buffer) => (held.session = session));
      callback(...outcome);
    });
}

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Buffer<ArrayBuffer>;
}

type Headers = Readonly<Record<string, string | string[] | undefined>>;

/** One request. Once it settles nothing of its body goes out any more. */
function exchange(pool: UndiciPool, request: WebResource): Promise<Answer> {
  // The SDK hands on what it was given, which is a signal.
  const signal = request.abortSignal as AbortSignal | undefined;
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  let underWay: Dispatcher.DispatchController | undefined;
  const stop = () => {
    const reason = signal === undefined ? new Error('aborted') : reasonOf(signal);
    underWay?.abort(reason);
    reject(reason);
  };
  if (signal?.aborted === true) {
    stop();
    return promise;
  }
  signal?.addEventListener('abort', stop, { once: true });
  let [status, headers, body]: [number, Headers, AnswerBody] = [0, {}, createAnswerBody(undefined)];
  const handler: Dispatcher.DispatchHandler = {
    onRequestStart(controller) {
      underWay = controller;
      // It may have waited for a connection.
      if (signal?.aborted === true) stop();
    },
    onResponseStart(_, code, received) {
      // 1xx: the answer itself is still to come.
      if (code < 200) return;
      [status, headers] = [code, received];
      if (request.method !== 'HEAD') body = createAnswerBody(received['content-length']);
    },
    onResponseData: (_, chunk) => body.add(chunk),
    onResponseEnd() {
      const answer = { status, headers, body: body.end() };
      // Before that the connection isn't free again, and whoever asks next would open another one.
      setImmediate(() => setImmediate(resolve, answer));
    },
    onResponseError: (_, error) => reject(error),
  };
  try {
    pool.dispatch(orderOf(request), handler);
  } catch (error) {
    // A request that is none, by undici's rules.
    reject(error);
  }
  return promise.finally(() => signal?.removeEventListener('abort', stop));
}

function orderOf({ url, method, headers, body }: WebResource): Dispatcher.DispatchOptions {
  const { pathname, search } = new URL(url);
  return {
    path: `${pathname}${search}`,
    method,
    headers: headers.rawHeaders(),
    // undici takes whatever can be iterated, though its types don't say so.
    body: (body instanceof Uint8Array && body.length > PIECE_BYTES ? piecesOf(body) : body) as Readable,
    // Else it would close the connection of a HEAD.
    reset: false,
  };
}

function* piecesOf(body: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < body.length; at += PIECE_BYTES) yield body.subarray(at, at + PIECE_BYTES);
}

interface AnswerBody {
  add(chunk: Buffer): void;
  end(): Buffer<ArrayBuffer>;
}

/** Memory of its own. Straight into one of the length that the answer names, where it does. undici sees to it that this is true. */
function createAnswerBody(contentLength: Headers[string]): AnswerBody {
  const length = Number(contentLength);
  if (!(length > 0 && length <= ANSWER_BYTES_MAX)) {
    const chunks: Buffer[] = [];
    const end = () => Buffer.from(new Uint8Array(Buffer.concat(chunks)).buffer);
    return { add: (chunk) => void chunks.push(Buffer.from(chunk)), end };
  }
  const body = Buffer.allocUnsafeSlow(length);
  let filled = 0;
  return { add: (chunk) => void (filled += chunk.copy(body, filled)), end: () => body };
}

/** The SDK gives no way to make headers but to empty a copy of the request's. */
function headersFor(request: WebResource, received: Headers): HttpOperationResponse['headers'] {
  const headers = request.headers.clone();
  for (const name of headers.headerNames()) headers.remove(name);
  for (const [name, value] of Object.entries(received))
    if (value !== undefined) headers.set(name, String(value));
  return headers;
}
