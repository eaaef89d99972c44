/**
 * The entry of a thread that asks for one token, by @azure/identity, and ends: in a process that only polls the SDK would
 * take 5 MiB from one token to the next, half a day later. Built into a text of its own.
 */
import { parentPort, workerData } from 'node:worker_threads';

import { createHttpHeaders } from '@azure/core-rest-pipeline';
import type { HttpClient as SdkHttpClient } from '@azure/core-rest-pipeline';
import { ManagedIdentityCredential } from '@azure/identity';

import { systemClock } from '../../../base/clock.ts';
import { createHttpClient } from '../../../base/http.ts';
import type { IdentityAnswer, IdentityOrder } from './identity.ts';

// learn.microsoft.com: Authorize access to blobs using Microsoft Entra ID. The same audience in every cloud.
const SCOPE = 'https://storage.azure.com/.default';

/** Whoever waits for the token gives up earlier. */
const CONNECT_MS = 5000;
/** The largest tokens have some KiB. */
const ANSWER_BYTES_MAX = 256 * 1024;

/** The SDK's requests by undici: its own client would keep an answer without an end, and go through a proxy. */
const httpClient: SdkHttpClient = {
  async sendRequest(request) {
    const { origin, pathname, search } = new URL(request.url);
    const options = { origin, connectionsMax: 1, connectMs: CONNECT_MS, idleMs: CONNECT_MS };
    const client = createHttpClient({ ...options, bodyBytesMax: ANSWER_BYTES_MAX }, { clock: systemClock });
    // The thread is ended when nobody waits any more.
    const { signal } = new AbortController();
    const { status, headers, body } = await client.ask(
      { method: 'GET', path: `${pathname}${search}`, headers: request.headers.toJSON() },
      signal,
    );
    if (body === undefined) throw new Error('the answer is too large for a token');
    const received = createHttpHeaders();
    for (const [name, value] of Object.entries(headers)) received.set(name, String(value));
    return { request, status, headers: received, bodyAsText: body.toString() };
  },
};

void ask().then((answer) => parentPort?.postMessage(answer, []));

/** The SDK's own retries (up to a minute after a 410) are off: whoever waits for the token knows better. */
async function ask(): Promise<IdentityAnswer> {
  // Given by startThread in identity.ts.
  const { clientId } = workerData as IdentityOrder;
  const once = { httpClient, retryOptions: { maxRetries: 0 }, redirectOptions: { maxRetries: 0 } };
  try {
    const credential =
      clientId === undefined
        ? new ManagedIdentityCredential(once)
        : new ManagedIdentityCredential({ clientId, ...once });
    const { token, expiresOnTimestamp } = await credential.getToken(SCOPE);
    return { kind: 'token', token, expiresOnMs: expiresOnTimestamp };
  } catch (error) {
    return { kind: 'failed', code: sdkErrorCode(error) };
  }
}

/** The SDK's messages can quote the endpoint's whole answer, a token included: only its error code is taken over. */
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
