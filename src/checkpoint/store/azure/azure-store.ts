import type { LookupFunction } from 'node:net';

import type { ContainerClient } from '@azure/storage-blob';

import type { Clock } from '../../../base/clock.ts';
import { createCaller } from './caller.ts';
import type { Caller, StoreTokens } from './caller.ts';
import { openContainer } from './container.ts';
import { assertOfService } from './errors.ts';
import { createReader, createWriter } from './blobs.ts';
import { parseStoreUrl } from './url.ts';
import type { StoreTarget } from './url.ts';
import { openCredential } from './credentials.ts';
import type { StoreAuth } from './credentials.ts';
import { RETRY_DEFAULTS } from '../retry.ts';
import type { RetryLimits } from '../retry.ts';
import type { BlobStore } from '../store.ts';
import { createUndiciHttpClient } from './undici-http-client.ts';

export interface AzureStoreOptions {
  /** `checkpoint.store.url`. Names of blobs are relative to the container; its prefix is the caller's to add. */
  readonly url: string;
  readonly auth: StoreAuth;
  /** PEM of the authority to trust in place of the built-in ones. */
  readonly ca?: string | undefined;
  readonly limits?: Partial<AzureLimits>;
}

export interface AzureLimits extends RetryLimits {
  /** Requests under way at a time. */
  readonly requestsMax: number;
}

export interface AzureStoreDependencies {
  readonly clock: Clock;
  readonly random?: () => number;
  /** Needed for a managed identity. */
  readonly tokens?: StoreTokens | undefined;
  readonly lookup?: LookupFunction | undefined;
}

export interface AzureStore extends BlobStore {
  readonly target: StoreTarget;
  /** Closes all connections; requests under way fail. */
  close(): Promise<void>;
}

const LIMITS: AzureLimits = { ...RETRY_DEFAULTS, requestsMax: 64 };
/** For those that run beside stalled ones. */
const CONNECTIONS_BESIDE = 8;
const PROBE = 'evictd-probe';

/**
 * A container of Azure Blob Storage, by the SDK over undici, for use inside one thread. Reads the credential's file,
 * connects to nothing yet. Rejects `bad-store-url` and `bad-credential`.
 */
export async function createAzureStore(
  options: AzureStoreOptions,
  dependencies: AzureStoreDependencies,
): Promise<AzureStore> {
  const { clock, random = Math.random, tokens, lookup } = dependencies;
  const target = parseStoreUrl(options.url);
  const { origin, host } = new URL(target.containerUrl);
  const credential = await openCredential(options.auth, target);
  const limits = { ...LIMITS, ...options.limits };
  const connectionsMax = limits.requestsMax + CONNECTIONS_BESIDE;
  const httpClient = createUndiciHttpClient({ origin, connectionsMax, ca: options.ca, lookup });
  const container = openContainer(target, { credential, tokens, httpClient });
  const credentialPlace = credential.kind === 'identity' ? undefined : credential.place;
  const call = createCaller(limits, { ...target, host, credentialPlace }, { clock, random, tokens });
  const isEmulator = options.auth.kind === 'azurite';
  return {
    describe: `container ${target.container} of account ${target.account}`,
    target,
    ...createReader(container, call),
    ...createWriter(container, call),
    ensureContainer: (signal) =>
      isEmulator ? createContainer(container, call, signal) : probe(container, call, target, signal),
    close: () => httpClient.close(),
  };
}

/** A HEAD on a blob that isn't there: needs no more than the right to read, and says when the container is missing. */
async function probe(
  container: ContainerClient,
  call: Caller,
  { prefix }: StoreTarget,
  signal: AbortSignal,
): Promise<void> {
  const blob = container.getBlobClient(prefix === '' ? PROBE : `${prefix}/${PROBE}`);
  const run = async (abortSignal: AbortSignal) => {
    assertOfService(await blob.getProperties({ abortSignal }));
    return true;
  };
  await call({ what: 'reach the container', run, outcomes: { 'not-found': true } }, signal);
}

async function createContainer(container: ContainerClient, call: Caller, signal: AbortSignal): Promise<void> {
  const run = (abortSignal: AbortSignal) => container.createIfNotExists({ abortSignal });
  await call({ what: 'create the container', run }, signal);
}
