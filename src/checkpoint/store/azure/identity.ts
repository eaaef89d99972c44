import { Worker } from 'node:worker_threads';
import { gunzipSync } from 'node:zlib';

import * as z from 'zod';

import { boundedSignal, reasonOf } from '../../../base/abort.ts';
import type { Clock } from '../../../base/clock.ts';
import { EvictdError } from '../../../base/errors.ts';
import type { TokenFetcher } from './token.ts';

// The build puts the thread's whole program here, as gzip in base64; run from source it is a file.
declare const EVICTD_IDENTITY_THREAD: string | undefined;

export interface IdentityOptions {
  readonly clientId: string | undefined;
  /** Base URL in place of http://169.254.169.254. */
  readonly endpoint: string | undefined;
  /** Milliseconds after which a fetch is given up. */
  readonly limitMs: number;
}

/** What the thread is to do. */
export interface IdentityOrder {
  readonly clientId: string | undefined;
}

export type IdentityAnswer =
  | { readonly kind: 'token'; readonly token: string; readonly expiresOnMs: number }
  | { readonly kind: 'failed'; readonly code: string | undefined };

/** The SDK takes whatever it is given, and our own requests carry it as it is. The largest tokens have some KiB. */
const Token = z.string().regex(/^[\x21-\x7e]{1,32768}$/);

/**
 * Tokens of the VM's managed identity, by @azure/identity in a thread of its own for each. What that does not do is left
 * to the thread's end and to `TokenSource`: it ignores abort signals and has no time limit.
 */
export function createManagedIdentityFetcher(
  { clientId, endpoint, limitMs }: IdentityOptions,
  { clock }: { readonly clock: Clock },
): TokenFetcher {
  return {
    async fetch(signal) {
      using bounded = boundedSignal(clock, limitMs, signal);
      const answer = await askThread({ clientId }, endpoint, bounded.signal);
      if (answer.kind === 'failed') throw noToken(answer.code, clientId);
      const token = Token.safeParse(answer.token);
      if (!token.success) throw noToken(undefined, clientId);
      return { token: token.data, lifeMs: answer.expiresOnMs - clock.wallMs() };
    },
  };
}

/** Rejects with the signal's reason. Either way the thread is ended, and its connection with it. */
async function askThread(
  order: IdentityOrder,
  endpoint: string | undefined,
  signal: AbortSignal,
): Promise<IdentityAnswer> {
  if (signal.aborted) throw reasonOf(signal);
  const worker = startThread(order, endpoint);
  const { promise, resolve, reject } = Promise.withResolvers<IdentityAnswer>();
  const onAbort = () => reject(reasonOf(signal));
  signal.addEventListener('abort', onAbort, { once: true });
  worker.once('message', resolve);
  worker.once('error', reject);
  worker.once('exit', () => reject(noToken(undefined, order.clientId)));
  try {
    return await promise;
  } finally {
    signal.removeEventListener('abort', onAbort);
    void worker.terminate();
  }
}

function startThread(order: IdentityOrder, endpoint: string | undefined): Worker {
  // The environment is the SDK's only way to be told where to ask. There is nothing else in it: no proxy, which the SDK
  // would use even for link-local addresses, and nothing that looks like another service's identity.
  const env =
    endpoint === undefined ? {} : { AZURE_POD_IDENTITY_AUTHORITY_HOST: endpoint.replace(/\/+$/, '') };
  const options = { env, name: 'evictd-token', workerData: order };
  return typeof EVICTD_IDENTITY_THREAD === 'undefined'
    ? new Worker(new URL('identity-thread.ts', import.meta.url), options)
    : new Worker(gunzipSync(Buffer.from(EVICTD_IDENTITY_THREAD, 'base64')).toString(), {
        ...options,
        eval: true,
      });
}

function noToken(code: string | undefined, clientId: string | undefined): EvictdError {
  const which =
    clientId === undefined ? 'the managed identity of this VM' : `the managed identity ${clientId}`;
  return new EvictdError('no-token', `no token for ${which}${code === undefined ? '' : ` (${code})`}`, {
    remedy:
      'check that an identity is assigned (az vm identity show), and, where several user-assigned ones are, ' +
      'that checkpoint.store.auth.clientId names one of them',
  });
}
