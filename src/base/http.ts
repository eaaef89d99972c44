import type { buildConnector, Dispatcher, Pool as UndiciPool } from 'undici';
import createConnector from 'undici/lib/core/connect.js';
import symbols from 'undici/lib/core/symbols.js';
import Pool from 'undici/lib/dispatcher/pool.js';

import { reasonOf } from './abort.ts';
import type { Clock, MonotonicMs } from './clock.ts';
import { errnoOf } from './errors.ts';
import { BESIDE_BODY_BYTES_MAX, createAnswerBody, limitAnswers, noHttp } from './http-answer.ts';

export interface HttpClientOptions {
  /** `http://host:port` or `https://host:port`. */
  readonly origin: string;
  /** More requests wait for one, inside their own time limit. */
  readonly connectionsMax: number;
  /** For opening a connection, TLS included. */
  readonly connectMs: number;
  /** After so long without a request a connection is closed. */
  readonly idleMs: number;
  /** No more of an answer's body is read. */
  readonly bodyBytesMax: number;
}

export interface HttpQuestion {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH';
  /** Path and query, exactly as they go out. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | undefined;
}

export interface HttpReply {
  readonly status: number;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** When the headers arrived. */
  readonly headersAt: MonotonicMs;
  /** Undefined: it is longer than `bodyBytesMax`, and was not read to its end. */
  readonly body: Buffer | undefined;
}

/**
 * HTTP to one server over connections of its own, which are kept: through no proxy, whatever the environment says, and
 * following no redirect.
 */
export interface HttpClient {
  /**
   * One try. Rejects with a system error, `bad-answer`, or the signal's reason. Whatever the outcome, the request is over
   * when it settles. An answer that isn't read to its end closes its connection.
   */
  ask(question: HttpQuestion, signal: AbortSignal): Promise<HttpReply>;
  /** Closes all connections; requests under way fail. */
  close(): Promise<void>;
}

/** As Node has it. */
const HEAD_BYTES_MAX = 16 * 1024;
/** A connection on which nothing moves is asked whether it still lives. */
const PROBE_MS = 30_000;

export function createHttpClient(
  options: HttpClientOptions,
  { clock }: { readonly clock: Clock },
): HttpClient {
  const { origin, connectionsMax, idleMs, bodyBytesMax } = options;
  const pool = new Pool(origin, {
    connections: connectionsMax,
    connect: connectorOf(options),
    // One request at a time on a connection. The signals alone say how long a request may take.
    pipelining: 1,
    headersTimeout: 0,
    bodyTimeout: 0,
    keepAliveTimeout: idleMs,
    keepAliveMaxTimeout: idleMs,
    maxHeaderSize: HEAD_BYTES_MAX,
    allowH2: false,
  });
  return {
    async ask(question, signal) {
      if (signal.aborted) throw reasonOf(signal);
      const answer = createAnswer(bodyBytesMax, clock);
      await exchange(pool, question, answer, signal);
      return answer.reply();
    },
    close: () => pool.destroy(),
  };
}

function exchange(
  pool: UndiciPool,
  { method, path, headers, body }: HttpQuestion,
  answer: Answer,
  signal: AbortSignal,
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let end: ((reason: Error) => void) | undefined;
  const onAbort = () => {
    reject(reasonOf(signal));
    end?.(reasonOf(signal));
  };
  const handler: Dispatcher.DispatchHandler = {
    onRequestStart(controller) {
      end = (reason) => controller.abort(reason);
      if (signal.aborted) onAbort();
    },
    onResponseStart(_, status, received) {
      // `100 Continue` and its like only announce the answer.
      if (status >= 200) answer.start(status, received);
    },
    onResponseData(controller, chunk) {
      if (answer.take(chunk)) return;
      resolve();
      controller.abort(new Error('the rest of the answer is not wanted'));
    },
    onResponseEnd: () => resolve(),
    onResponseError: (_, error) => reject(explained(error)),
  };
  const whileWaiting = { [symbols.kQueuedAbort]: (cancel: (reason: Error) => void) => (end = cancel) };
  signal.addEventListener('abort', onAbort, { once: true });
  pool.dispatch({ method, path, headers, body: body ?? null, ...whileWaiting }, handler);
  return promise.finally(() => signal.removeEventListener('abort', onAbort));
}

/** Connections that end when an answer has no end. */
function connectorOf({ connectMs, bodyBytesMax }: HttpClientOptions): buildConnector.connector {
  const connect = createConnector({
    allowH2: false,
    // Otherwise the environment has a say (NODE_TLS_REJECT_UNAUTHORIZED).
    rejectUnauthorized: true,
    timeout: connectMs,
    keepAliveInitialDelay: PROBE_MS,
  });
  return (options, callback) =>
    // What it answers, a socket, is what undici ends an attempt by.
    connect(options, (...outcome) => {
      if (outcome[0] === null) limitAnswers(outcome[1], bodyBytesMax + BESIDE_BODY_BYTES_MAX);
      callback(...outcome);
    });
}

interface Answer {
  start(status: number, headers: HttpReply['headers']): void;
  /** False: it is longer than wanted. */
  take(chunk: Buffer): boolean;
  reply(): HttpReply;
}

/** What has come of an answer. */
function createAnswer(bodyBytesMax: number, clock: Clock): Answer {
  const body = createAnswerBody(bodyBytesMax);
  let head = { status: 0, headers: {}, headersAt: 0 };
  return {
    start: (status, headers) => (head = { status, headers, headersAt: clock.monotonicMs() }),
    take: (chunk) => body.take(chunk),
    reply: () => ({ ...head, body: body.content() }),
  };
}

/** undici has codes of its own for what the system has names for. */
function explained(error: Error): Error {
  const code = errnoOf(error) ?? '';
  if (code === 'UND_ERR_SOCKET') return systemError('ECONNRESET', 'the connection was closed', error);
  if (code === 'UND_ERR_CONNECT_TIMEOUT') return systemError('ETIMEDOUT', 'not connected in time', error);
  const isBroken =
    error.name === 'HTTPParserError' ||
    code === 'UND_ERR_HEADERS_OVERFLOW' ||
    code === 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH';
  // Without the error itself, which holds what came instead.
  return isBroken ? noHttp() : error;
}

function systemError(code: string, message: string, cause: Error): Error {
  return Object.assign(new Error(message, { cause }), { code });
}
