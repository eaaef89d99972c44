import type { LookupFunction } from 'node:net';
import { Readable } from 'node:stream';
import { DEFAULT_CIPHERS } from 'node:tls';

import type { HttpOperationResponse, IHttpClient, WebResource } from '@azure/storage-blob';
import type { buildConnector, Dispatcher, Pool as UndiciPool } from 'undici';
import createConnector from 'undici/lib/core/connect.js';
import Pool from 'undici/lib/dispatcher/pool.js';

import { reasonOf } from '../../../base/abort.ts';
import { EvictdError } from '../../../base/errors.ts';
import {
  type AnswerBody,
  BESIDE_BODY_BYTES_MAX,
  createAnswerBody,
  limitAnswers,
  noHttp,
} from '../../../base/http-answer.ts';

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
/** Of a download, which is held in memory. No chunk or range is larger. */
const DOWNLOAD_BYTES_MAX = 128 * 1024 ** 2;
/** Of an answer that the SDK parses, which takes many times its memory. A page of 5,000 blobs has 2 MiB. */
const TEXT_BYTES_MAX = 16 * 1024 ** 2;
/** Of an error. What is longer is some proxy's page, and its status says enough. */
const ERROR_BYTES_MAX = 64 * 1024;
/** Heads (1xx) before that of an answer. */
const ANNOUNCEMENTS_MAX = 16;
/** As Node has it. */
const HEAD_BYTES_MAX = 16 * 1024;
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
    maxHeaderSize: HEAD_BYTES_MAX,
  });
  return {
    async sendRequest(request) {
      const { status, headers, body } = await exchange(pool, request);
      const answer = { request, status, headers: headersFor(request, headers) };
      if (isDownload(request, status)) return { ...answer, readableStreamBody: Readable.from([body]) };
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
      if (outcome[0] === null) limitAnswers(outcome[1], DOWNLOAD_BYTES_MAX + BESIDE_BODY_BYTES_MAX);
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
  let [status, headers, body]: [number, Headers, AnswerBody] = [0, {}, createAnswerBody(0)];
  let announcements = 0;
  const finish = () => resolve({ status, headers, body: body.content() ?? Buffer.alloc(0) });
  const handler: Dispatcher.DispatchHandler = {
    onRequestStart(controller) {
      underWay = controller;
      // It may have waited for a connection.
      if (signal?.aborted === true) stop();
    },
    onResponseStart(controller, code, received) {
      if (code < 200) {
        // The answer itself is still to come.
        if (++announcements > ANNOUNCEMENTS_MAX) controller.abort(noHttp());
        return;
      }
      [status, headers] = [code, received];
      const length = request.method === 'HEAD' ? undefined : Number(received['content-length']);
      body = createAnswerBody(bytesMaxOf(request, status), length);
    },
    onResponseData(controller, chunk) {
      if (body.take(chunk)) return;
      if (isError(status)) finish();
      else reject(tooLong());
      controller.abort(tooLong());
    },
    // Before that the connection isn't free again, and whoever asks next would open another one.
    onResponseEnd: () => void setImmediate(() => setImmediate(finish)),
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

function isDownload({ streamResponseStatusCodes: streamed }: WebResource, status: number): boolean {
  return streamed?.has(status) === true || streamed?.has(Infinity) === true;
}

function isError(status: number): boolean {
  return status >= 300;
}

function bytesMaxOf(request: WebResource, status: number): number {
  if (isDownload(request, status)) {
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.get('x-ms-range') ?? '') ?? [];
    return Math.min(DOWNLOAD_BYTES_MAX, Number(last ?? Infinity) - Number(first ?? 0) + 1);
  }
  return isError(status) ? ERROR_BYTES_MAX : TEXT_BYTES_MAX;
}

function tooLong(): EvictdError {
  return new EvictdError('too-large', 'the answer is longer than any that is expected');
}

/** The SDK gives no way to make headers but to empty a copy of the request's. */
function headersFor(request: WebResource, received: Headers): HttpOperationResponse['headers'] {
  const headers = request.headers.clone();
  for (const name of headers.headerNames()) headers.remove(name);
  for (const [name, value] of Object.entries(received))
    if (value !== undefined) headers.set(name, String(value));
  return headers;
}
