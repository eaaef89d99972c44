import { once } from 'node:events';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';

import { expect, onTestFinished, test, vi } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import { createHttpClient } from '../../src/base/http.ts';
import { createUndiciHttpClient } from '../../src/checkpoint/store/azure/undici-http-client.ts';
import { createSelfSigned } from '../support/tls.ts';

/** A server that nobody vouches for, in a process whose environment says that this doesn't matter. */
async function startImpostor() {
  vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0');
  onTestFinished(() => void vi.unstubAllEnvs());
  let requests = 0;
  const server = createServer(createSelfSigned(), (_, response) => {
    requests += 1;
    response.end();
  });
  onTestFinished(() => void server.close());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  // A server that listens on a TCP port has an AddressInfo.
  return {
    origin: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests: () => requests,
  };
}

test('no variable turns off the check of certificates: of whom a webhook or a hook is told', async () => {
  const { origin, requests } = await startImpostor();
  const limits = { connectionsMax: 1, connectMs: 5000, idleMs: 5000, bodyBytesMax: 1000 };
  const client = createHttpClient({ origin, ...limits }, { clock: systemClock });
  onTestFinished(() => client.close());
  const question = { method: 'POST', path: '/', headers: {} } as const;
  await expect(client.ask(question, AbortSignal.timeout(10_000))).rejects.toThrow(/self-signed/);
  expect(requests()).toBe(0);
});

test('no variable turns off the check of certificates: of the store and of queues', async () => {
  const { origin, requests } = await startImpostor();
  const client = createUndiciHttpClient({ origin, connectionsMax: 1 });
  onTestFinished(() => client.close());
  const { QueueClient, AnonymousCredential } = await import('@azure/storage-queue');
  const options = { httpClient: client, retryOptions: { maxTries: 1 } };
  const queue = new QueueClient(`${origin}/acct/q?sig=x`, new AnonymousCredential(), options);
  await expect(queue.sendMessage('x')).rejects.toThrow();
  expect(requests()).toBe(0);
});
