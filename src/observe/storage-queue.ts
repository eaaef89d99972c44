import {
  AnonymousCredential,
  QueueClient,
  StorageSharedKeyCredential,
  newPipeline,
} from '@azure/storage-queue';
import type { IHttpClient } from '@azure/storage-queue';
import type { TokenCredential } from '@azure/identity';

import { EvictdError } from '../base/errors.ts';
import { newsAsCloudEvent } from './drain-news.ts';
import type { Teller } from './webhook.ts';

/** What signs the requests: a token, an account key, or a signature in the URL's query. */
export type QueueCredential =
  | { readonly kind: 'token'; readonly credential: TokenCredential }
  | { readonly kind: 'account-key'; readonly account: string; readonly key: string }
  | { readonly kind: 'signature'; readonly query: string };

const RETRY = { maxTries: 100, tryTimeoutInMs: 5000, retryDelayInMs: 250, maxRetryDelayInMs: 5000 };

/**
 * Puts the news as a CloudEvent into a queue, as plain JSON text: whoever requeues jobs takes it from there. The
 * queue has to exist. Rejects `queue-failed`. `httpClient` sends the SDK's requests.
 * Source: learn.microsoft.com, "Put Message"
 */
export function createQueueTeller(url: string, credential: QueueCredential, httpClient: IHttpClient): Teller {
  const client = openQueue(url, credential, httpClient);
  return async (news, signal) => {
    try {
      await client.sendMessage(JSON.stringify(newsAsCloudEvent(news)), { abortSignal: signal });
    } catch (error) {
      throw explain(url, error);
    }
  };
}

function openQueue(url: string, credential: QueueCredential, httpClient: IHttpClient): QueueClient {
  const options = { retryOptions: RETRY, httpClient };
  switch (credential.kind) {
    case 'signature':
      return new QueueClient(`${url}?${credential.query}`, newPipeline(new AnonymousCredential(), options));
    case 'token':
      return new QueueClient(url, newPipeline(credential.credential, options));
    case 'account-key': {
      const signer = new StorageSharedKeyCredential(credential.account, credential.key);
      return new QueueClient(url, newPipeline(signer, options));
    }
  }
}

/** The SDK's messages can quote the request, signature included. */
function explain(url: string, error: unknown): EvictdError {
  const code = property(error, 'code') ?? property(error, 'name') ?? 'unknown error';
  const remedies: Readonly<Record<string, string>> = {
    QueueNotFound: 'create it: az storage queue create --account-name ACCOUNT --name QUEUE --auth-mode login',
    AuthorizationPermissionMismatch:
      "give the VM's identity the role Storage Queue Data Message Sender on the queue; it takes minutes to work",
  };
  const remedy = remedies[code] ?? 'check the URL, the network and the rights on the queue';
  return new EvictdError('queue-failed', `${url} took no message (${code})`, { remedy });
}

function property(error: unknown, name: string): string | undefined {
  if (typeof error !== 'object' || error === null) return undefined;
  const value: unknown = Reflect.get(error, name);
  return typeof value === 'string' && /^[\w.-]{1,80}$/.test(value) ? value : undefined;
}
