import type { Clock } from '../base/clock.ts';
import type { AzureBlobStore } from '../checkpoint/azure-store.ts';
import type { Config } from '../config/schema.ts';

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
      // Spelled out because the config has an absent clientId as undefined.
      auth:
        auth.kind === 'managed-identity'
          ? { kind: auth.kind, ...(auth.clientId === undefined ? {} : { clientId: auth.clientId }) }
          : auth,
      ...(endpoint === AZURE_ENDPOINT ? {} : { identityEndpoint: endpoint }),
    },
    { clock },
  );
}
