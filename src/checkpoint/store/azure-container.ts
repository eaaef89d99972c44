import { ContainerClient, newPipeline, StorageSharedKeyCredential } from '@azure/storage-blob';
import type { IHttpClient } from '@azure/storage-blob';

import { assert } from '../../base/assert.ts';
import { EvictdError } from '../../base/errors.ts';
import { buildInfo } from '../../base/version.ts';
import type { StoreTokens } from './azure-caller.ts';
import type { StoreTarget } from './azure-url.ts';
import type { StoreCredential } from './credentials.ts';

/** Has all that is used here, and is known to emulators and to the clouds that get new versions late. */
const SERVICE_VERSION = '2024-11-04';

interface ContainerDependencies {
  readonly credential: StoreCredential;
  /** Of an identity. */
  readonly tokens: StoreTokens | undefined;
  readonly httpClient: IHttpClient;
}

/** The SDK's client of a container: it signs, writes and reads what the service wants; each request is tried once. */
export function openContainer(
  { containerUrl }: StoreTarget,
  { credential, tokens, httpClient }: ContainerDependencies,
): ContainerClient {
  const options = {
    httpClient,
    retryOptions: { maxTries: 1 },
    userAgentOptions: { userAgentPrefix: `evictd/${buildInfo().version}` },
    // These two are handed on to where they are known, though the type doesn't list them.
    redirectOptions: { maxRetries: 0 },
    version: SERVICE_VERSION,
  };
  switch (credential.kind) {
    case 'signature':
      return new ContainerClient(`${containerUrl}?${credential.query}`, newPipeline(undefined, options));
    case 'account-key': {
      const key = new StorageSharedKeyCredential(credential.account, credential.key);
      return new ContainerClient(containerUrl, newPipeline(key, options));
    }
    case 'identity':
      assert(tokens !== undefined, 'an identity needs tokens');
      return new ContainerClient(containerUrl, newPipeline(credentialOf(tokens), options));
  }
}

/** Each call has seen to it that there is a token. One that has expired is what the SDK doesn't keep. */
function credentialOf(tokens: StoreTokens) {
  return {
    async getToken() {
      const token = tokens.current();
      if (token === undefined) throw new EvictdError('no-token', 'there is no token at the moment');
      return { token, expiresOnTimestamp: 0 };
    },
  };
}
