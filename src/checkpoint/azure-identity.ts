import { Agent } from 'node:http';
import { Socket } from 'node:net';

import type { Clock } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
import type { FetchedToken, TokenFetcher } from './token.ts';

export interface IdentityOptions {
  readonly clientId: string | undefined;
  /** Base URL in place of http://169.254.169.254. Process-wide, and only the first one counts. */
  readonly endpoint: string | undefined;
  /** Milliseconds after which a connection on which nothing moves is closed. */
  readonly silenceMsMax: number;
}

// learn.microsoft.com: Authorize access to blobs using Microsoft Entra ID. The same audience in every cloud.
const SCOPE = 'https://storage.azure.com/.default';

/**
 * Tokens of the VM's managed identity, by @azure/identity. What that does not do is left to `TokenSource`:
 * it ignores abort signals, has no time limit, and its own retries (up to a minute after a 410) are off here.
 * Its cache is shared by the whole process, so that asking often is cheap.
 */
export async function createManagedIdentityFetcher(
  options: IdentityOptions,
  dependencies: { readonly clock: Clock },
): Promise<TokenFetcher> {
  pointSdkAt(options.endpoint);
  // Loaded only where an identity is used: it takes as long to load as all the rest.
  const { ManagedIdentityCredential } = await import('@azure/identity');
  const agent = createEndpointAgent(options.silenceMsMax);
  // The pipeline takes `agent` and `redirectOptions` although the type of the options doesn't list them.
  const sdkOptions = { retryOptions: { maxRetries: 0 }, redirectOptions: { maxRetries: 0 }, agent };
  const credential =
    options.clientId === undefined
      ? new ManagedIdentityCredential(sdkOptions)
      : new ManagedIdentityCredential({ clientId: options.clientId, ...sdkOptions });
  return {
    async fetch(): Promise<FetchedToken> {
      try {
        const { token, expiresOnTimestamp } = await credential.getToken(SCOPE);
        return { token, lifeMs: expiresOnTimestamp - dependencies.clock.wallMs() };
      } catch (error) {
        throw noToken(error, options.clientId);
      }
    },
  };
}

/**
 * Connections of our own to the endpoint. The SDK would otherwise send even link-local requests through HTTPS_PROXY,
 * and it has no time limit: what stays silent is closed here. (The SDK keeps the first client of the process for all
 * later ones, so this can't be left to the instance that gave up waiting.)
 */
function createEndpointAgent(silenceMsMax: number): Agent {
  const agent = new Agent({ keepAlive: false, proxyEnv: {} });
  const connect = agent.createConnection.bind(agent);
  agent.createConnection = (options, callback) => {
    const socket = connect(options, callback);
    if (socket instanceof Socket) socket.setTimeout(silenceMsMax, () => socket.destroy());
    return socket;
  };
  return agent;
}

/** The environment is the SDK's only way to be told; it is read once, when the first token is asked for. */
function pointSdkAt(endpoint: string | undefined): void {
  if (endpoint === undefined) return;
  process.env['AZURE_POD_IDENTITY_AUTHORITY_HOST'] = endpoint.replace(/\/+$/, '');
}

/** The SDK's messages can quote the endpoint's whole answer, a token included: only its error code is taken over. */
function noToken(error: unknown, clientId: string | undefined): EvictdError {
  const code = sdkErrorCode(error);
  const which =
    clientId === undefined ? 'the managed identity of this VM' : `the managed identity ${clientId}`;
  return new EvictdError('no-token', `no token for ${which}${code === undefined ? '' : ` (${code})`}`, {
    remedy:
      'check that an identity is assigned (az vm identity show), and, where several user-assigned ones are, ' +
      'that checkpoint.store.auth.clientId names one of them',
  });
}

function sdkErrorCode(error: unknown): string | undefined {
  for (
    let current = error, depth = 0;
    current instanceof Error && depth < 4;
    current = current.cause, depth++
  ) {
    if (
      'errorCode' in current &&
      typeof current.errorCode === 'string' &&
      /^\w{1,60}$/.test(current.errorCode)
    ) {
      return current.errorCode;
    }
  }
  return undefined;
}
