import type { Clock } from '../base/clock.ts';
import type { AzureBlobStore } from '../checkpoint/azure-store.ts';
import { parseStoreUrl } from '../checkpoint/azure-url.ts';
import { type StoreAuth, openCredential } from '../checkpoint/credentials.ts';
import { TOKEN_DEFAULTS } from '../checkpoint/token.ts';
import type { Config } from '../config/schema.ts';
import type { QueueCredential } from '../observe/storage-queue.ts';

const AZURE_ENDPOINT = 'http://169.254.169.254';

/**
 * The store that the config names. The Azure SDK is loaded here and not before: it takes longer to load than the
 * daemon needs to send its first poll.
 * Rejects `bad-store-url` and `bad-credential`.
 */
export async function openStore(
  config: Config,
  checkpoint: NonNullable<Config['checkpoint']>,
  { clock }: { readonly clock: Clock },
): Promise<AzureBlobStore> {
  const { createAzureBlobStore } = await import('../checkpoint/azure-store.ts');
  const { url, auth } = checkpoint.store;
  const { endpoint } = config.imds;
  return createAzureBlobStore(
    {
      url,
      auth: storeAuth(auth),
      ...(endpoint === AZURE_ENDPOINT ? {} : { identityEndpoint: endpoint }),
    },
    { clock },
  );
}

type ConfiguredAuth = NonNullable<Config['checkpoint']>['store']['auth'];

/** Spelled out because the config has an absent clientId as undefined. */
function storeAuth(auth: ConfiguredAuth): StoreAuth {
  if (auth.kind !== 'managed-identity') return auth;
  return { kind: auth.kind, ...(auth.clientId === undefined ? {} : { clientId: auth.clientId }) };
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
  const auth = config.checkpoint?.store.auth ?? { kind: 'managed-identity' };
  const credential = await openCredential(storeAuth(auth), parseStoreUrl(url));
  if (credential.kind !== 'identity') return credential;
  const { createManagedIdentityFetcher } = await import('../checkpoint/azure-identity.ts');
  const { endpoint } = config.imds;
  const fetcher = createManagedIdentityFetcher(
    {
      clientId: credential.clientId,
      endpoint: endpoint === AZURE_ENDPOINT ? undefined : endpoint,
      limitMs: TOKEN_DEFAULTS.attemptMs,
    },
    { clock },
  );
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
