import type { Clock } from '../base/clock.ts';
import type { EvictdError } from '../base/errors.ts';
import type { TokenFetcher, TokenSource } from '../checkpoint/store/azure/token.ts';
import type { StoreTarget } from '../checkpoint/store/azure/url.ts';
import { type StoreAuth, openCredential } from '../checkpoint/store/azure/credentials.ts';
import type { BlobStore } from '../checkpoint/store/store.ts';
import type { Workers } from '../checkpoint/worker/workers.ts';
import type { Config } from '../config/schema.ts';
import type { QueueCredential } from '../observe/storage-queue.ts';

const AZURE_ENDPOINT = 'http://169.254.169.254';

/** The store that the config names, and the threads that talk to it. */
export interface OpenStore {
  readonly target: StoreTarget;
  readonly workers: Workers;
  /** The workers'. */
  readonly store: BlobStore;
  /** Begins to fetch and renew the token in the background. Without it the first request fetches one. */
  start(): void;
  /** Why there is no fresh token, if so. */
  tokenError(this: void): EvictdError | undefined;
  /** Ends renewal and threads; requests under way fail. */
  close(): Promise<void>;
}

/**
 * Reads the credential's file, and connects to nothing yet. The Azure SDK is loaded by the threads, when there is work
 * for them. Rejects `bad-store-url` and `bad-credential`.
 */
export async function openStore(
  config: Config,
  checkpoint: NonNullable<Config['checkpoint']>,
  { clock }: { readonly clock: Clock },
): Promise<OpenStore> {
  const { createWorkers } = await import('../checkpoint/worker/create-workers.ts');
  const { parseStoreUrl } = await import('../checkpoint/store/azure/url.ts');
  const { url } = checkpoint.store;
  const target = parseStoreUrl(url);
  const auth = storeAuth(checkpoint.store.auth);
  const credential = await openCredential(auth, target);
  const tokens =
    credential.kind === 'identity' ? await openTokens(config, credential.clientId, clock) : undefined;
  const workers = createWorkers({ url, auth }, { clock, tokens });
  return {
    target,
    workers,
    store: workers.store,
    start: () => tokens?.start(),
    tokenError: () => tokens?.lastError(),
    async close() {
      tokens?.stop();
      await workers.close();
    },
  };
}

type ConfiguredAuth = NonNullable<Config['checkpoint']>['store']['auth'];

/** Spelled out because the config has an absent clientId as undefined. */
function storeAuth(auth: ConfiguredAuth): StoreAuth {
  if (auth.kind !== 'managed-identity') return auth;
  return { kind: auth.kind, ...(auth.clientId === undefined ? {} : { clientId: auth.clientId }) };
}

async function openTokens(config: Config, clientId: string | undefined, clock: Clock): Promise<TokenSource> {
  const { TOKEN_DEFAULTS, createTokenSource } = await import('../checkpoint/store/azure/token.ts');
  return createTokenSource(TOKEN_DEFAULTS, { clock, fetcher: await tokenFetcher(config, clientId, clock) });
}

async function tokenFetcher(
  config: Config,
  clientId: string | undefined,
  clock: Clock,
): Promise<TokenFetcher> {
  const { createManagedIdentityFetcher } = await import('../checkpoint/store/azure/identity.ts');
  const { TOKEN_DEFAULTS } = await import('../checkpoint/store/azure/token.ts');
  const { endpoint } = config.imds;
  return createManagedIdentityFetcher(
    {
      clientId,
      endpoint: endpoint === AZURE_ENDPOINT ? undefined : endpoint,
      limitMs: TOKEN_DEFAULTS.attemptMs,
    },
    { clock },
  );
}

/**
 * What signs messages for a queue: the credential of the checkpoint store, or the VM's identity where there is none.
 * Rejects `bad-store-url` and `bad-credential`.
 */
export async function openQueueCredential(
  config: Config,
  url: string,
  clock: Clock,
): Promise<QueueCredential> {
  const { parseStoreUrl } = await import('../checkpoint/store/azure/url.ts');
  const auth = config.checkpoint?.store.auth ?? { kind: 'managed-identity' };
  const credential = await openCredential(storeAuth(auth), parseStoreUrl(url));
  if (credential.kind !== 'identity') return credential;
  const fetcher = await tokenFetcher(config, credential.clientId, clock);
  return {
    kind: 'token',
    credential: {
      async getToken() {
        const { token, lifeMs } = await fetcher.fetch();
        return { token, expiresOnTimestamp: clock.wallMs() + lifeMs };
      },
    },
  };
}
