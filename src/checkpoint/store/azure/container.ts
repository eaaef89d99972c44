import type { TokenCredential } from '@azure/identity';
import { ContainerClient, newPipeline, StorageSharedKeyCredential } from '@azure/storage-blob';
import type { IHttpClient, RequestPolicyFactory } from '@azure/storage-blob';

import { assert } from '../../../base/assert.ts';
import { EvictdError } from '../../../base/errors.ts';
import { buildInfo } from '../../../base/version.ts';
import type { StoreTokens } from './caller.ts';
import type { StoreTarget } from './url.ts';
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
    // Else the SDK would look for one in the environment, and fail where that is no URL. Our HTTP client uses none.
    proxyOptions: { host: 'http://unused.invalid', port: 1 },
    // Handed on to where it is known, though the type doesn't list it.
    redirectOptions: { maxRetries: 0 },
  };
  const open = (url: string, signer?: StorageSharedKeyCredential | TokenCredential) => {
    const pipeline = newPipeline(signer, options);
    pipeline.factories.push(inVersion(SERVICE_VERSION));
    return new ContainerClient(url, pipeline);
  };
  switch (credential.kind) {
    case 'signature':
      return open(`${containerUrl}?${credential.query}`);
    case 'account-key':
      return open(containerUrl, new StorageSharedKeyCredential(credential.account, credential.key));
    case 'identity':
      assert(tokens !== undefined, 'an identity needs tokens');
      return open(containerUrl, credentialOf(tokens));
  }
}

/** The SDK writes its own, the newest one, into each request. This comes after that and before it signs. */
function inVersion(version: string): RequestPolicyFactory {
  return {
    create: (next) => ({
      sendRequest(request) {
        request.headers.set('x-ms-version', version);
        return next.sendRequest(request);
      },
    }),
  };
}

/** Each call has seen to it that there is a token. One that has expired is what the SDK doesn't keep. */
function credentialOf(tokens: StoreTokens): TokenCredential {
  return {
    async getToken() {
      const token = tokens.current();
      if (token === undefined) throw new EvictdError('no-token', 'there is no token at the moment');
      return { token, expiresOnTimestamp: 0 };
    },
  };
}
