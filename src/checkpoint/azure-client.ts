import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import type { LookupFunction } from 'node:net';

import {
  AnonymousCredential,
  type BlockBlobClient,
  ContainerClient,
  newPipeline,
  StorageSharedKeyCredential,
} from '@azure/storage-blob';

import type { Clock } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
import { explainAzureError } from './azure-errors.ts';
import { blobNameProblem } from './azure-name.ts';
import {
  type BlobAnswer,
  type BlobRequest,
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

/** The container, and the one way in which requests to it are made. */
export interface AzureClient {
  readonly container: ContainerClient;
  /** Runs a request with the store's retries, time limits and errors. */
  call<T>(attempt: StoreAttempt<T>, signal: AbortSignal): Promise<T>;
  /** Throws `refused` for a name that could not be stored under itself. */
  blob(name: string): BlockBlobClient;
  /** One try of a request without the SDK, for use inside `call`. Throws `refused` as `blob` does. */
  send(request: BlobRequest, signal: AbortSignal): Promise<BlobAnswer>;
  /** The same for a GET whose answer has a body. */
  receive(request: BlobRequest, limits: ReceiveLimits, signal: AbortSignal): Promise<ReceivedBlob>;
  /** The same by a reading thread, into a file. */
  fetch(request: BlobRequest, into: FetchInto, signal: AbortSignal): Promise<ReadResult>;
  /** Closes all connections; requests under way fail. */
  close(): void;
}

// Far below the 4 minutes after which Azure's load balancers forget an idle connection without a word.
const IDLE_CONNECTION_MS = 60_000;
/** A request that takes so many times the slowest of late is taken for lost; a slow network slows all of them. */
const PATIENCE = 3;
/** The slowest of late is forgotten by this with each success. */
const FORGETTING = 0.95;

/**
 * One shared client over connections of our own: bounded, kept alive, never through a proxy, never redirected.
 * The SDK's retries are off, since they skip 408, 429, 502, 504 and EAI_AGAIN and ignore `Retry-After`.
 */
export function createAzureClient(
  options: AzureClientOptions,
  dependencies: AzureClientDependencies,
): AzureClient {
  const { target } = options;
  const { clock, random, credential, tokens } = dependencies;
  const agent = createAgent(options, dependencies.lookup);
  // The pipeline takes `agent` and `redirectOptions` although the type of the options doesn't list them;
  // an agent also keeps the SDK from reading HTTPS_PROXY and its kin.
  const pipelineOptions = { agent, redirectOptions: { maxRetries: 0 }, retryOptions: { maxTries: 1 } };
  const pipeline = newPipeline(sdkCredential(credential, tokens), pipelineOptions);
  const requester = createBlobRequester(
    { ...options, containerUrl: target.containerUrl, idleMs: IDLE_CONNECTION_MS },
    dependencies,
  );
  const query = credential.kind === 'signature' ? `?${credential.query}` : '';
  const credentialPlace = credential.kind === 'identity' ? undefined : credential.place;
  const context = { ...target, host: new URL(target.containerUrl).host, credentialPlace };
  const container = new ContainerClient(`${target.containerUrl}${query}`, pipeline);
  let slowestMs = 0;
  const beside = { count: 0 };
  return {
    container,
    blob(name) {
      checkName(name);
      return container.getBlockBlobClient(name);
    },
    async send(request, signal) {
      checkName(request.name);
      return requester.send(request, signal);
    },
    async receive(request, limits, signal) {
      checkName(request.name);
      return requester.receive(request, limits, signal);
    },
    async fetch(request, into, signal) {
      checkName(request.name);
      return requester.fetch(request, into, signal);
    },
    call(attempt, signal) {
      const run: typeof attempt.run = async (trySignal, number) => {
        // Fetched here, under the try's own time: inside the SDK one caller's abort would fail all that wait with it.
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
    close() {
      agent.destroy();
      requester.close();
    },
  };
}

function checkName(name: string): void {
  const problem = blobNameProblem(name);
  if (problem !== undefined)
    throw new EvictdError('refused', `the blob name ${JSON.stringify(name)} ${problem}`);
}

function createAgent(options: AzureClientOptions, lookup: LookupFunction | undefined): HttpAgent {
  const agentOptions = {
    keepAlive: true,
    maxSockets: options.connectionsMax,
    maxFreeSockets: options.connectionsMax,
    scheduling: 'lifo',
    timeout: IDLE_CONNECTION_MS,
    // An empty environment: no proxy, also under NODE_USE_ENV_PROXY.
    proxyEnv: {},
    ...(lookup !== undefined && { lookup }),
  } as const;
  if (options.target.containerUrl.startsWith('http:')) return new HttpAgent(agentOptions);
  return new HttpsAgent({ ...agentOptions, ...(options.ca !== undefined && { ca: options.ca }) });
}

function sdkCredential(credential: StoreCredential, tokens: TokenSource | undefined) {
  if (credential.kind === 'account-key')
    return new StorageSharedKeyCredential(credential.account, credential.key);
  if (credential.kind === 'signature' || tokens === undefined) return new AnonymousCredential();
  return {
    async getToken() {
      const token = tokens.current();
      // The SDK keeps what it gets and asks again when that is about to expire. Always expired means: ask for each
      // request, from memory, so that a renewed token is used at once and the SDK renews nothing by itself.
      return token === undefined ? null : { token, expiresOnTimestamp: 0 };
    },
  };
}
