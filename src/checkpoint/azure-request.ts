import type { LookupFunction } from 'node:net';
import type { Readable } from 'node:stream';

import { createHttpHeaders, createPipelineRequest, RestError } from '@azure/core-rest-pipeline';
import { Pool } from 'undici';

import type { Clock } from '../base/clock.ts';
import { buildInfo } from '../base/version.ts';
import { EvictdError, errnoOf } from '../base/errors.ts';
import { CIPHERS, headOf, serverOf } from './azure-get.ts';
import { createSigner, type SignedHeaders } from './azure-sign.ts';
import type { StoreCredential } from './credentials.ts';
import type { HttpAnswer } from './http-order.ts';
import { createHttpSender } from './http-sender.ts';
import type { FetchJob, PlaceOrder, ReadResult } from './read-job.ts';
import type { Reader } from './reader.ts';
import { createRequestWindow } from './request-window.ts';
import type { TokenSource } from './token.ts';

/** A request in the words of the REST API. */
export interface BlobRequest {
  readonly method: 'PUT' | 'HEAD' | 'GET';
  /** Of the blob, in the container. */
  readonly name: string;
  /** Encoded, without the question mark; empty for none. */
  readonly query: string;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
}

/** The headers of a 2xx answer, by lower-case name. */
export type BlobAnswer = ReadonlyMap<string, string>;

export interface ReceiveLimits {
  readonly bytesMax: number;
}

export interface ReceivedBlob {
  readonly headers: BlobAnswer;
  readonly content: Buffer;
}

export interface BlobRequester {
  /** One try. Rejects with a RestError for a bad status, else with a system error, as the SDK does. */
  send(request: BlobRequest, signal: AbortSignal): Promise<BlobAnswer>;
  /** The same for a GET whose answer has a body. Rejects `too-large` above `bytesMax`. */
  receive(request: BlobRequest, limits: ReceiveLimits, signal: AbortSignal): Promise<ReceivedBlob>;
  /** The same by a reading thread, into a file; settles when that is done with the file. Rejects `reader-failed`. */
  fetch(request: BlobRequest, into: FetchInto, signal: AbortSignal): Promise<ReadResult>;
  close(): void;
}

export interface FetchInto extends PlaceOrder {
  readonly reader: Pick<Reader, 'run'>;
}

export interface BlobRequesterOptions {
  readonly containerUrl: string;
  readonly connectionsMax: number;
  /** After so long without a request a connection is closed. */
  readonly idleMs: number;
  /** PEM of the authority to trust in place of the built-in ones. */
  readonly ca: string | undefined;
}

export interface BlobRequesterDependencies {
  readonly clock: Clock;
  readonly credential: StoreCredential;
  readonly tokens: TokenSource | undefined;
  readonly lookup: LookupFunction | undefined;
}

// Has all that is written here, and is known to emulators and to the clouds that get new versions late.
const SERVICE_VERSION = '2024-11-04';
const CONNECT_MS = 5000;
/** An answer to a write has no body, an error's is a short text that nobody reads: its code is in a header. */
const ANSWER_BYTES_MAX = 64 * 1024;
/** Less content is no reason to start the sending thread; once that is there, all writes go by it. */
const SENDER_BYTES_MIN = 16 * 1024;

/**
 * The requests that a checkpoint makes by the thousand, without the SDK's layers around them: those cost 1 ms of CPU
 * for each request, this costs 0.1 ms. Everything else goes through the SDK.
 * Source: learn.microsoft.com/rest/api/storageservices: Put Block, Put Block List, Put Blob, Snapshot Blob.
 */
export function createBlobRequester(
  options: BlobRequesterOptions,
  dependencies: BlobRequesterDependencies,
): BlobRequester {
  const { origin, host } = new URL(options.containerUrl);
  const server = serverOf(options);
  const pool = createPool(origin, options, dependencies.lookup);
  // A look-up of one's own can't be handed to a thread.
  const sender =
    dependencies.lookup === undefined
      ? createHttpSender({ ...server, connectMs: CONNECT_MS, idleMs: options.idleMs }, dependencies)
      : undefined;
  const window = createRequestWindow({ roomMax: options.connectionsMax }, dependencies);
  const write = (request: Ready, signal: AbortSignal): Promise<HttpAnswer> => {
    const { method, path, headers, body } = request;
    return sender !== undefined && (sender.isStarted || (body?.byteLength ?? 0) >= SENDER_BYTES_MIN)
      ? sender.send({ head: headOf(method, host, path, headers), body: body ?? undefined }, signal)
      : exchange(pool, { ...request, signal }, undefined);
  };
  const signed = createReadyMaker(options, dependencies);
  return {
    async send(request, signal) {
      const ready = await signed(request);
      const answer = await window.run(
        signal,
        () =>
          request.method === 'PUT' ? write(ready, signal) : exchange(pool, { ...ready, signal }, undefined),
        isRefused,
      );
      if (isGood(answer)) return answer.headers;
      throw badStatus(answer);
    },
    async receive(request, limits, signal) {
      const ready = await signed(request);
      const answer = await window.run(signal, () => exchange(pool, { ...ready, signal }, limits), isRefused);
      if (!isGood(answer)) throw badStatus(answer);
      const { headers, content } = answer;
      return { headers, content };
    },
    async fetch(request, { reader, ...place }, signal) {
      const { path, headers } = await signed(request);
      const job: FetchJob = {
        kind: 'fetch',
        ...server,
        request: headOf('GET', host, path, headers),
        ...place,
      };
      const isBusy = (result: ReadResult) => result.kind === 'refused' && isRefused(result);
      return window.run(signal, () => reader.run(job, signal), isBusy);
    },
    close() {
      sender?.close();
      void pool.destroy();
    },
  };
}

/** Makes a request of ours one that can go out: named, dated and signed. Rejects `no-token`. */
function createReadyMaker(
  { containerUrl }: BlobRequesterOptions,
  dependencies: BlobRequesterDependencies,
): (request: BlobRequest) => Promise<Ready> {
  const { origin, pathname } = new URL(containerUrl);
  const sign = createSigner(dependencies);
  const agent = `evictd/${buildInfo().version}`;
  return async (request) => {
    const { method, name, query, headers, body } = request;
    const bytes = body?.byteLength ?? 0;
    const all: SignedHeaders = {
      ...headers,
      'x-ms-version': SERVICE_VERSION,
      'x-ms-date': new Date(dependencies.clock.wallMs()).toUTCString(),
      'user-agent': agent,
      ...(method === 'PUT' && { 'content-length': String(bytes) }),
    };
    const path = `${pathname}/${encodeName(name)}`;
    const { authorization, query: signedQuery } = await sign({
      method,
      url: `${origin}${path}`,
      query,
      headers: all,
    });
    const signedHeaders: SignedHeaders = authorization === undefined ? all : { ...all, authorization };
    return { method, path: `${path}${signedQuery}`, headers: signedHeaders, body: body ?? null };
  };
}

/** A signed request as undici takes it. */
interface Ready {
  readonly method: BlobRequest['method'];
  readonly path: string;
  readonly headers: SignedHeaders;
  readonly body: Uint8Array | null;
}

function createPool(origin: string, options: BlobRequesterOptions, lookup: LookupFunction | undefined): Pool {
  // A pool of one's own goes through no proxy and follows no redirect, whatever the environment says.
  return new Pool(origin, {
    connections: options.connectionsMax,
    pipelining: 1,
    keepAliveTimeout: options.idleMs,
    keepAliveMaxTimeout: options.idleMs,
    // Every try has a time limit of its own as its signal; these would only race with it.
    headersTimeout: 0,
    bodyTimeout: 0,
    connect: {
      timeout: CONNECT_MS,
      ciphers: CIPHERS,
      ...(options.ca !== undefined && { ca: options.ca }),
      ...(lookup !== undefined && { lookup }),
    },
  });
}

/** As the SDK does: slashes divide the name, all else that isn't plain is escaped. */
function encodeName(name: string): string {
  return name.split('/').map(encodeURIComponent).join('/');
}

interface Answer extends HttpAnswer {
  /** Of a good answer, where a body is wanted. */
  readonly content: Buffer;
}

function isGood({ status }: HttpAnswer): boolean {
  return status >= 200 && status < 300;
}

/** 503 ServerBusy, and 429 of what stands before it. */
function isRefused({ status }: Pick<HttpAnswer, 'status'>): boolean {
  return status === 503 || status === 429;
}

async function exchange(
  pool: Pool,
  request: Parameters<Pool['request']>[0],
  limits: ReceiveLimits | undefined,
): Promise<Answer> {
  try {
    const { statusCode: status, headers, body } = await pool.request(request);
    const found = Object.entries(headers).flatMap(([name, value]) =>
      typeof value === 'string' ? [[name, value] as const] : [],
    );
    const answer = { status, headers: new Map(found), content: Buffer.alloc(0) };
    if (limits !== undefined && isGood(answer))
      return { ...answer, content: await contentOf(answer, body, limits) };
    await body.dump({ limit: ANSWER_BYTES_MAX });
    return answer;
  } catch (error) {
    throw systemError(error);
  }
}

/** An answer that says no length, or another one than it has, isn't the service's, or was cut off. */
async function contentOf({ headers }: Answer, body: Readable, { bytesMax }: ReceiveLimits): Promise<Buffer> {
  const bytes = Number(headers.get('content-length') ?? Number.NaN);
  if (!(bytes <= bytesMax)) {
    // Its own report of that comes as an event.
    body.once('error', () => undefined).destroy();
    throw Number.isNaN(bytes)
      ? new EvictdError('bad-answer', 'the answer has no length')
      : new EvictdError('too-large', `the answer has ${bytes} bytes, more than the ${bytesMax} expected`);
  }
  const content = Buffer.allocUnsafeSlow(bytes);
  let filled = 0;
  for await (const chunk of body) {
    // The stream has no encoding set, so its chunks are buffers.
    filled += (chunk as Buffer).copy(content, filled);
  }
  if (filled === bytes) return content;
  throw new EvictdError('network', `only ${filled} of ${bytes} bytes arrived`);
}

/** undici's own codes in the terms of the system errors that they come from. */
const ERRNOS: Readonly<Record<string, string>> = {
  UND_ERR_SOCKET: 'ECONNRESET',
  UND_ERR_CONNECT_TIMEOUT: 'ETIMEDOUT',
  UND_ERR_DESTROYED: 'ECONNABORTED',
  UND_ERR_CLOSED: 'ECONNABORTED',
};

function systemError(error: unknown): unknown {
  const errno = ERRNOS[errnoOf(error) ?? ''];
  if (errno === undefined) return error;
  return Object.assign(new Error('the connection failed', { cause: error }), { code: errno });
}

/** What the SDK would have thrown, so that one place explains the service's errors. */
export function badStatus({ status, headers }: HttpAnswer): Error {
  // The SDK's error wants a request; it is never shown, since URLs can hold a signature.
  const request = createPipelineRequest({ url: 'https://blob.invalid' });
  const found = createHttpHeaders(Object.fromEntries(headers));
  return new RestError(`HTTP ${status}`, {
    statusCode: status,
    response: { status, headers: found, request },
  });
}

/** A header that the service always sends with a success. */
export function headerOf(answer: BlobAnswer, name: string): string {
  const value = answer.get(name);
  if (value !== undefined) return value;
  throw new EvictdError('bad-answer', `the answer has no ${name}`);
}
