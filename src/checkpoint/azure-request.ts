import type { LookupFunction } from 'node:net';

import type { Clock } from '../base/clock.ts';
import { buildInfo } from '../base/version.ts';
import { EvictdError } from '../base/errors.ts';
import { createHttpClient } from '../base/http-client.ts';
import type { HttpClient, HttpReply } from '../base/http-client.ts';
import { BadStatus } from './azure-errors.ts';
import { CIPHERS, REQUEST_ID, serverOf } from './azure-get.ts';
import { createSigner, type Signature, type SignedHeaders } from './azure-sign.ts';
import type { StoreCredential } from './credentials.ts';
import { isSuccess, requestHead } from '../base/http-order.ts';
import type { HttpAnswer } from '../base/http-order.ts';
import { createHttpSender } from './http-sender.ts';
import type { HttpSender } from './http-sender.ts';
import type { FetchJob, PlaceOrder, ReadResult } from './read-job.ts';
import type { Reader } from './reader.ts';
import { isRefused } from './request-room.ts';
import { createRequestWindow } from './request-window.ts';
import type { TokenSource } from './token.ts';

/** A request in the words of the REST API. */
export interface BlobRequest {
  readonly method: 'PUT' | 'HEAD' | 'GET' | 'DELETE';
  /** Of the blob, in the container. Undefined: the container itself. */
  readonly name: string | undefined;
  /** Encoded, without the question mark; empty for none. */
  readonly query: string;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
}

/** The headers of a 2xx answer, by lower-case name. */
export type BlobAnswer = ReadonlyMap<string, string>;

export interface BothAnswers {
  readonly headers: BlobAnswer;
  /** Undefined: it didn't go out, or to no avail. */
  readonly next: BlobAnswer | undefined;
}

export interface ReceiveLimits {
  readonly bytesMax: number;
}

export interface ReceivedBlob {
  readonly headers: BlobAnswer;
  readonly content: Buffer;
}

export interface BlobRequester {
  /** One try. Rejects with a BadStatus or a system error. */
  send(request: BlobRequest, signal: AbortSignal): Promise<BlobAnswer>;
  /** The same for a write, which is to be followed by `next` on the condition that nothing was written since. */
  sendBoth(request: BlobRequest, next: BlobRequest, signal: AbortSignal): Promise<BothAnswers>;
  /** The same for a GET whose answer has a body. Rejects `too-large` above `bytesMax`. */
  receive(request: BlobRequest, limits: ReceiveLimits, signal: AbortSignal): Promise<ReceivedBlob>;
  /** The same by a reading thread, into a file; settles when that is done with the file. Rejects `reader-failed`. */
  fetch(request: BlobRequest, into: FetchInto, signal: AbortSignal): Promise<ReadResult>;
  /** Content is to be sent soon. */
  expectWrites(): void;
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
/** Of the answers to writes that succeed. */
const HEADERS_READ = [REQUEST_ID, 'etag', 'x-ms-snapshot'];
/** Less content is no reason to start the sending thread; once that is there, all writes go by it. */
const SENDER_BYTES_MIN = 16 * 1024;

/**
 * Requests without the SDK's layers around them: those cost 1 ms of CPU for each, this costs 0.1 ms, and 5 MiB for as
 * long as the process runs.
 * Source: learn.microsoft.com/rest/api/storageservices, "Blob service REST API".
 */
export function createBlobRequester(
  options: BlobRequesterOptions,
  dependencies: BlobRequesterDependencies,
): BlobRequester {
  const { origin, host } = new URL(options.containerUrl);
  const server = serverOf(options);
  const client = createHttpClient(
    { ...options, origin, connectMs: CONNECT_MS, ciphers: CIPHERS, lookup: dependencies.lookup },
    dependencies,
  );
  const window = createRequestWindow({ roomMax: options.connectionsMax }, dependencies);
  const send = (ready: Ready, signal: AbortSignal) =>
    window.run(signal, () => exchange(client, ready, signal), isRefused);
  const signed = createReadyMaker(options, dependencies);
  const headOf = ({ method, path, headers }: Ready) => requestHead(method, host, path, headers);
  const sender = createSender(server, options, dependencies);
  /** The sending thread, which knows how much may go out at once, where that is to have the request. */
  const senderOf = ({ method, body }: BlobRequest) => {
    const isWorth = sender?.isReady === true || (body?.byteLength ?? 0) >= SENDER_BYTES_MIN;
    return method === 'PUT' && isWorth ? sender : undefined;
  };
  const requester: BlobRequester = {
    async send(request, signal) {
      const ready = await signed(request);
      const thread = senderOf(request);
      const answer = await (thread === undefined
        ? send(ready, signal)
        : thread.send({ head: headOf(ready), body: ready.body }, signal));
      return headersOf(answer);
    },
    async sendBoth(request, next, signal) {
      const thread = senderOf(request);
      // A key signs the condition as well, which isn't known yet.
      if (thread === undefined || dependencies.credential.kind === 'account-key')
        return { headers: await requester.send(request, signal), next: undefined };
      const [ready, follow] = [await signed(request), await signed(next)];
      const order = { head: headOf(ready), body: ready.body, next: headOf(follow) };
      const answer = await thread.send(order, signal);
      const second = answer.next !== undefined && isSuccess(answer.next) ? answer.next.headers : undefined;
      return { headers: headersOf(answer), next: second };
    },
    async receive(request, limits, signal) {
      const ready = await signed(request);
      const ask = () => exchange(client, ready, signal, limits.bytesMax);
      const answer = await window.run(signal, ask, isRefused);
      return { headers: headersOf(answer), content: contentOf(answer, limits) };
    },
    async fetch(request, { reader, ...place }, signal) {
      const { path, headers } = await signed(request);
      const job: FetchJob = {
        kind: 'fetch',
        ...server,
        request: requestHead('GET', host, path, headers),
        ...place,
      };
      const isBusy = (result: ReadResult) => result.kind === 'refused' && isRefused(result);
      return window.run(signal, () => reader.run(job, signal), isBusy);
    },
    expectWrites: () => sender?.start(),
    close() {
      sender?.close();
      client.close();
    },
  };
  return requester;
}

/** Undefined: there is none for a look-up of one's own, which can't be handed to a thread. */
function createSender(
  server: ReturnType<typeof serverOf>,
  { connectionsMax, idleMs }: BlobRequesterOptions,
  { lookup, clock }: BlobRequesterDependencies,
): HttpSender | undefined {
  if (lookup !== undefined) return undefined;
  const origin = { ...server, connectMs: CONNECT_MS, idleMs };
  return createHttpSender({ origin, connectionsMax, headersRead: HEADERS_READ }, { clock });
}

/** Makes a request of ours one that can go out: named, dated and signed. Throws or rejects `no-token`. */
function createReadyMaker(
  { containerUrl }: BlobRequesterOptions,
  dependencies: BlobRequesterDependencies,
): (request: BlobRequest) => Ready | Promise<Ready> {
  const { origin, pathname } = new URL(containerUrl);
  const sign = createSigner(dependencies);
  const agent = `evictd/${buildInfo().version}`;
  return (request) => {
    const { method, name, query, headers, body } = request;
    const bytes = body?.byteLength ?? 0;
    const all: SignedHeaders = {
      ...headers,
      'x-ms-version': SERVICE_VERSION,
      'x-ms-date': new Date(dependencies.clock.wallMs()).toUTCString(),
      'user-agent': agent,
      ...(method === 'PUT' && { 'content-length': String(bytes) }),
    };
    const path = name === undefined ? pathname : `${pathname}/${encodeName(name)}`;
    const finish = ({ authorization, query: marked }: Signature): Ready => {
      const signedHeaders = authorization === undefined ? all : { ...all, authorization };
      return { method, path: `${path}${marked}`, headers: signedHeaders, body };
    };
    const signature = sign({ method, url: `${origin}${path}`, query, headers: all });
    return signature instanceof Promise ? signature.then(finish) : finish(signature);
  };
}

/** A signed request. */
interface Ready {
  readonly method: BlobRequest['method'];
  readonly path: string;
  readonly headers: SignedHeaders;
  readonly body: Uint8Array | undefined;
}

/** As the SDK does: slashes divide the name, all else that isn't plain is escaped. */
function encodeName(name: string): string {
  return encodeURIComponent(name).replaceAll('%2F', '/');
}

/** Throws a BadStatus. */
function headersOf(answer: HttpAnswer): BlobAnswer {
  if (isSuccess(answer)) return answer.headers;
  throw new BadStatus(answer);
}

function exchange(
  client: HttpClient,
  ready: Ready,
  signal: AbortSignal,
  bodyBytesMax = ANSWER_BYTES_MAX,
): Promise<HttpReply> {
  return client.ask({ ...ready, bodyBytesMax }, signal);
}

/** An answer that doesn't say where it ends isn't the service's, or was cut off. */
function contentOf({ headers, body }: HttpReply, { bytesMax }: ReceiveLimits): Buffer {
  if (!headers.has('content-length') && headers.get('transfer-encoding') !== 'chunked')
    throw new EvictdError('bad-answer', 'the answer has no length');
  if (body !== undefined) return body;
  const bytes = headers.get('content-length') ?? 'too many';
  throw new EvictdError('too-large', `the answer has ${bytes} bytes, more than the ${bytesMax} expected`);
}

/** A header that the service always sends with a success. */
export function headerOf(answer: BlobAnswer, name: string): string {
  const value = answer.get(name);
  if (value !== undefined) return value;
  throw new EvictdError('bad-answer', `the answer has no ${name}`);
}
