import type { LookupFunction } from 'node:net';

import type { Clock } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
import { createHttpClient } from '../base/http-client.ts';
import type { HttpClient, HttpReply } from '../base/http-client.ts';
import { requestHead } from '../base/http-order.ts';
import { bothOf, headersOf } from './azure-answer.ts';
import type { BlobAnswer, BothAnswers } from './azure-answer.ts';
import { CIPHERS, REQUEST_ID, serverOf } from './azure-get.ts';
import { createReadyMaker } from './azure-ready.ts';
import type { BlobRequest, BlobRequests, Ready } from './azure-ready.ts';
import { createTogether } from './azure-together.ts';
import type { RequestsTogether } from './azure-together.ts';
import type { StoreCredential } from './credentials.ts';
import { createHttpSender } from './http-sender.ts';
import type { HttpSender } from './http-sender.ts';
import type { FetchJob, PlaceOrder, ReadResult } from './read-job.ts';
import type { Reader } from './reader.ts';
import { isRefused } from './request-room.ts';
import { createRequestWindow } from './request-window.ts';
import type { TokenSource } from './token.ts';

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
  /**
   * The same for several; undefined: it isn't worth it. All are given up at the abort of `signal`. Absent where each
   * request is signed by itself.
   */
  sendTogether?(group: BlobRequests, signal: AbortSignal): Promise<RequestsTogether | undefined>;
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
  const ready = createReadyMaker(options, dependencies);
  const headOf = ({ method, path, headers }: Ready) => requestHead(method, host, path, headers);
  const sender = createSender(server, options, dependencies);
  const isKey = dependencies.credential.kind === 'account-key';
  /** The sending thread, which knows how much may go out at once, where that is to have writes of so much. */
  const threadFor = (bytes: number) =>
    sender?.isReady === true || bytes >= SENDER_BYTES_MIN ? sender : undefined;
  const senderOf = ({ method, body }: BlobRequest) =>
    method === 'PUT' ? threadFor(body?.byteLength ?? 0) : undefined;
  const requester: BlobRequester = {
    async send(request, signal) {
      const made = await ready.request(request);
      const thread = senderOf(request);
      const answer = await (thread === undefined
        ? window.run(signal, () => exchange(client, made, signal), isRefused)
        : thread.send({ head: headOf(made), body: made.body }, signal));
      return headersOf(answer);
    },
    async sendBoth(request, next, signal) {
      const thread = senderOf(request);
      // A key signs the condition as well, which isn't known yet.
      if (thread === undefined || isKey)
        return { headers: await requester.send(request, signal), next: undefined };
      const [first, follow] = [await ready.request(request), await ready.request(next)];
      const order = { head: headOf(first), body: first.body, next: headOf(follow) };
      return bothOf(await thread.send(order, signal));
    },
    ...(sender !== undefined && !isKey && { sendTogether: createTogether(threadFor, ready) }),
    async receive(request, limits, signal) {
      const made = await ready.request(request);
      const ask = () => exchange(client, made, signal, limits.bytesMax);
      const answer = await window.run(signal, ask, isRefused);
      return { headers: headersOf(answer), content: contentOf(answer, limits) };
    },
    async fetch(request, { reader, ...place }, signal) {
      const { path, headers } = await ready.request(request);
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
