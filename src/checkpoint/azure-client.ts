import type { LookupFunction } from 'node:net';

import type { Clock } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
import { explainAzureError } from './azure-errors.ts';
import { blobNameProblem } from './azure-name.ts';
import {
  type BlobAnswer,
  type BlobRequest,
  type BothAnswers,
  type FetchInto,
  type ReceivedBlob,
  type ReceiveLimits,
  createBlobRequester,
} from './azure-request.ts';
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
  /** Never run twice at the same time: it fills memory of the caller's. */
  readonly isAlone?: boolean;
}

/** The one way in which requests to a container are made. */
export interface AzureClient {
  /** Runs a request with the store's retries, time limits and errors. */
  call<T>(attempt: StoreAttempt<T>, signal: AbortSignal): Promise<T>;
  /** One try of a request, for use inside `call`. Throws `refused` for a name that could not be stored under itself. */
  send(request: BlobRequest, signal: AbortSignal): Promise<BlobAnswer>;
  /** The same for a write and what is to follow it; see BlobRequester. */
  sendBoth(request: BlobRequest, next: BlobRequest, signal: AbortSignal): Promise<BothAnswers>;
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
  let slowestMs = 0;
  const beside = { count: 0 };
  return {
    send(request, signal) {
      checkName(request.name);
      return requester.send(request, signal);
    },
    sendBoth(request, next, signal) {
      checkName(request.name);
      return requester.sendBoth(request, next, signal);
    },
    receive(request, limits, signal) {
      checkName(request.name);
      return requester.receive(request, limits, signal);
    },
    fetch(request, into, signal) {
      checkName(request.name);
      return requester.fetch(request, into, signal);
    },
    call(attempt, signal) {
      const run: typeof attempt.run = async (trySignal, number) => {
        await tokens?.token(trySignal);
        const startedAt = clock.monotonicMs();
        const result = await attempt.run(trySignal, number);
        slowestMs = Math.max(clock.monotonicMs() - startedAt, slowestMs * FORGETTING);
        return result;
      };
      const patienceMs = Math.max(options.limits.patienceMs, slowestMs * PATIENCE);
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

function checkName(name: string | undefined): void {
  const problem = name === undefined ? undefined : blobNameProblem(name);
  if (problem !== undefined)
    throw new EvictdError('refused', `the blob name ${JSON.stringify(name)} ${problem}`);
}
