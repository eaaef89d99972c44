import type { LookupFunction } from 'node:net';

import { systemClock, type Clock } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
import { createAzureClient, type AzureClient } from './azure-client.ts';
import { downloadBlocks } from './azure-download.ts';
import { azureCodeOf, BadStatus, explainAzureError } from './azure-errors.ts';
import { createManagedIdentityFetcher } from './azure-identity.ts';
import { createReader, folders } from './azure-read.ts';
import { parseStoreUrl, type StoreTarget } from './azure-url.ts';
import { createWriter } from './azure-write.ts';
import { openCredential, type StoreAuth } from './credentials.ts';
import { RETRY_DEFAULTS, type RetryLimits } from './store-retry.ts';
import type { FolderStore } from './reports.ts';
import { createTokenSource, TOKEN_DEFAULTS, type TokenSource } from './token.ts';
import { TRANSFER_LIMITS } from './transfer.ts';

export interface AzureStoreOptions {
  /** `checkpoint.store.url`. Names of blobs are relative to the container; its prefix is the caller's to add. */
  readonly url: string;
  readonly auth: StoreAuth;
  /** Base URL of the identity endpoint when it isn't http://169.254.169.254. */
  readonly identityEndpoint?: string;
  readonly limits?: Partial<RetryLimits>;
  /** Connections at a time; more requests wait for one, inside their own time limit. */
  readonly connectionsMax?: number;
  /** PEM of the authority to trust in place of the built-in ones. */
  readonly ca?: string;
}

export interface AzureStoreDependencies {
  readonly clock?: Clock;
  readonly random?: () => number;
  readonly lookup?: LookupFunction;
}

export interface AzureBlobStore extends FolderStore {
  readonly target: StoreTarget;
  /** Begins to fetch and renew the token in the background. Without it the first request fetches one. */
  start(): void;
  /** Ends renewal and closes all connections; requests under way fail. */
  stop(): void;
  /** One cheap request, so that name, connection, TLS and token are ready when they are needed. */
  keepWarm(signal: AbortSignal): Promise<void>;
  /** Rejects `container-not-found` with the command that creates it; creates it in the emulator. */
  ensureContainer(signal: AbortSignal): Promise<void>;
  /** Why there is no fresh token, if so. */
  tokenError(): EvictdError | undefined;
}

// More than the engine has requests under way, so that none of them waits for a connection.
const CONNECTIONS_MAX = TRANSFER_LIMITS.requestsMax + 8;
const PROBE = 'evictd-probe';

/**
 * Azure Blob Storage as a `BlobStore`. Reads the credential's file, connects to nothing yet.
 * Throws `bad-store-url` and `bad-credential`.
 */
export async function createAzureBlobStore(
  options: AzureStoreOptions,
  dependencies: AzureStoreDependencies = {},
): Promise<AzureBlobStore> {
  const target = parseStoreUrl(options.url);
  const clock = dependencies.clock ?? systemClock;
  const credential = await openCredential(options.auth, target);
  let tokens: TokenSource | undefined;
  if (credential.kind === 'identity') {
    const { attemptMs: limitMs } = TOKEN_DEFAULTS;
    const identity = { clientId: credential.clientId, endpoint: options.identityEndpoint, limitMs };
    const fetcher = createManagedIdentityFetcher(identity, { clock });
    tokens = createTokenSource(TOKEN_DEFAULTS, { clock, fetcher });
  }
  const client = createAzureClient(
    {
      target,
      limits: { ...RETRY_DEFAULTS, ...options.limits },
      connectionsMax: options.connectionsMax ?? CONNECTIONS_MAX,
      ca: options.ca,
    },
    { clock, random: dependencies.random ?? Math.random, credential, tokens, lookup: dependencies.lookup },
  );
  const context = { ...target, host: new URL(target.containerUrl).host };
  const isConflict = (error: unknown) => explainAzureError(error, context).code === 'conflict';
  return {
    describe: `container ${target.container} of account ${target.account}`,
    target,
    ...createReader(client),
    download: (name, options, signal) => downloadBlocks(client, name, options, signal),
    ...createWriter(client, isConflict),
    expectWrites: () => client.expectWrites(),
    folders: (prefix, signal) => folders(client, prefix, signal),
    start: () => tokens?.start(),
    stop() {
      tokens?.stop();
      client.close();
    },
    async keepWarm(signal) {
      await probe(client, target, signal);
    },
    ensureContainer: (signal) =>
      options.auth.kind === 'azurite' ? create(client, signal) : probe(client, target, signal),
    tokenError: () => tokens?.lastError(),
  };
}

/** A HEAD on a blob that isn't there: needs no more than the right to read, and says when the container is missing. */
async function probe(client: AzureClient, target: StoreTarget, signal: AbortSignal): Promise<void> {
  const name = target.prefix === '' ? PROBE : `${target.prefix}/${PROBE}`;
  const request = { method: 'HEAD', name, query: '', headers: {} } as const;
  try {
    await client.call(
      { what: 'reach the container', run: (trySignal) => client.send(request, trySignal) },
      signal,
    );
  } catch (error) {
    if (!(error instanceof EvictdError && error.code === 'not-found')) throw error;
  }
}

async function create(client: AzureClient, signal: AbortSignal): Promise<void> {
  const request = { method: 'PUT', name: undefined, query: 'restype=container', headers: {} } as const;
  await client.call(
    {
      what: 'create the container',
      async run(trySignal) {
        try {
          await client.send(request, trySignal);
        } catch (error) {
          if (!(error instanceof BadStatus && azureCodeOf(error) === 'ContainerAlreadyExists')) throw error;
        }
      },
    },
    signal,
  );
}
