import type { LookupFunction } from 'node:net';

import { boundedSignal } from '../base/abort.ts';
import type { Clock, MonotonicMs } from '../base/clock.ts';
import type { BlobAnswer, BothAnswers } from './azure-answer.ts';
import { explainAzureError } from './azure-errors.ts';
import type { BlobRequest, BlobRequests } from './azure-ready.ts';
import {
  type FetchInto,
  type ReceivedBlob,
  type ReceiveLimits,
  createBlobRequester,
} from './azure-request.ts';
import type { RequestsTogether } from './azure-together.ts';
import type { StoreTarget } from './azure-url.ts';
import type { StoreCredential } from './credentials.ts';
import type { ReadResult } from './read-job.ts';
import { withRetries, type Attempt, type RetryLimits } from './store-retry.ts';
import type { TokenSource } from './token.ts';

export interface AzureClientOptions {
  readonly target: StoreTarget;
  readonly limits: RetryLimits;
  readonly connectionsMax: number;
  /** PEM of the authority to trust in place of the built-in ones. */
  readonly ca: string | undefined;
}

export interface AzureClientDependencies {
  readonly clock: Clock;
  readonly random: () => number;
  readonly credential: StoreCredential;
  /** Present for a managed identity. */
  readonly tokens: TokenSource | undefined;
  readonly lookup: LookupFunction | undefined;
}

export interface StoreAttempt<T> extends Omit<Attempt<T>, 'patienceMs'> {
  /** Its first try has used up what patience there is. */
  readonly isLate?: boolean;
  /** Never run twice at the same time: it fills memory of the caller's. */
  readonly isAlone?: boolean;
}

/** The one way in which requests to a container are made. */
export interface AzureClient {
  /** Runs a request with the store's retries, time limits and errors. */
  call<T>(attempt: StoreAttempt<T>, signal: AbortSignal): Promise<T>;
  /** One try of a request, for use inside `call`. Rejects `refused` for a name that could not be stored under itself. */
  send(request: BlobRequest, signal: AbortSignal): Promise<BlobAnswer>;
  /** The same for a write and what is to follow it; see BlobRequester. */
  sendBoth(request: BlobRequest, next: BlobRequest, signal: AbortSignal): Promise<BothAnswers>;
  /**
   * One try of several writes. Resolves when all have ended, or when those that haven't take too long; undefined: it
   * isn't worth it. Rejects `refused`, or what the token's source rejects with. Absent where each request is signed by
   * itself.
   */
  sendTogether?(group: BlobRequests, signal: AbortSignal): Promise<RequestsTogether | undefined>;
  /** The same for a GET whose answer has a body. */
  receive(request: BlobRequest, limits: ReceiveLimits, signal: AbortSignal): Promise<ReceivedBlob>;
  /** The same by a reading thread, into a file. */
  fetch(request: BlobRequest, into: FetchInto, signal: AbortSignal): Promise<ReadResult>;
  /** Content is to be sent soon: begins what takes time to be ready for that. */
  expectWrites(): void;
  /** Closes all connections; requests under way fail. */
  close(): void;
}

// Far below the 4 minutes after which Azure's load balancers forget an idle connection without a word.
const IDLE_CONNECTION_MS = 90_000;
/** A request that takes so many times the slowest of late is taken for lost; a slow network slows all of them. */
const PATIENCE = 3;
/** The slowest of late is forgotten by this with each success. */
const FORGETTING = 0.95;

/** One shared client over connections of our own: bounded, kept alive, never through a proxy, never redirected. */
export function createAzureClient(
  options: AzureClientOptions,
  dependencies: AzureClientDependencies,
): AzureClient {
  const { target } = options;
  const { clock, random, credential, tokens } = dependencies;
  const requester = createBlobRequester(
    { ...options, containerUrl: target.containerUrl, idleMs: IDLE_CONNECTION_MS },
    dependencies,
  );
  const credentialPlace = credential.kind === 'identity' ? undefined : credential.place;
  const context = { ...target, host: new URL(target.containerUrl).host, credentialPlace };
  const patience = createPatience(options.limits, clock);
  const beside = { count: 0 };
  const together = requester.sendTogether?.bind(requester);
  return {
    send: (request, signal) => requester.send(request, signal),
    sendBoth: (request, next, signal) => requester.sendBoth(request, next, signal),
    ...(together !== undefined && {
      async sendTogether(group, signal) {
        if (tokens !== undefined) {
          using limit = boundedSignal(clock, options.limits.tryTimeoutMs, signal);
          await tokens.token(limit.signal);
        }
        const startedAt = clock.monotonicMs();
        const sent = await together(group, signal);
        if (sent === undefined) return undefined;
        if (await doneWithin(clock, patience.ms, sent.all)) patience.noteAnswer(startedAt);
        return sent;
      },
    }),
    receive: (request, limits, signal) => requester.receive(request, limits, signal),
    fetch: (request, into, signal) => requester.fetch(request, into, signal),
    call(attempt, signal) {
      const run: typeof attempt.run = async (trySignal, number) => {
        await tokens?.token(trySignal);
        const startedAt = clock.monotonicMs();
        const result = await attempt.run(trySignal, number);
        patience.noteAnswer(startedAt);
        return result;
      };
      const patienceMs = attempt.isLate === true ? 0 : patience.ms;
      return withRetries(
        { ...attempt, run, ...(attempt.isAlone !== true && { patienceMs }) },
        options.limits,
        {
          clock,
          random,
          explain: (error) => explainAzureError(error, context),
          renew: async (renewSignal) => (tokens === undefined ? false : tokens.renew(renewSignal)),
          beside,
        },
        signal,
      );
    },
    expectWrites: () => requester.expectWrites(),
    close: () => requester.close(),
  };
}

/** How long a request may take before it is taken for lost. */
function createPatience({ patienceMs }: RetryLimits, clock: Clock) {
  let slowestMs = 0;
  return {
    get ms() {
      return Math.max(patienceMs, slowestMs * PATIENCE);
    },
    noteAnswer(startedAt: MonotonicMs) {
      slowestMs = Math.max(clock.monotonicMs() - startedAt, slowestMs * FORGETTING);
    },
  };
}

/** Waits for `work`, but no longer than that; false: it isn't done. */
async function doneWithin(clock: Clock, limitMs: number, work: Promise<void>): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  using _limit = clock.timer(limitMs, () => resolve(false));
  void work.then(() => resolve(true));
  return await promise;
}
