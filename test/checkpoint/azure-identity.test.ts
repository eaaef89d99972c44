import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { inspect } from 'node:util';

import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import { createManagedIdentityFetcher } from '../../src/checkpoint/azure-identity.ts';
import { createAzureBlobStore } from '../../src/checkpoint/azure-store.ts';
import { createTokenSource } from '../../src/checkpoint/token.ts';
import { startAzurite, type Azurite } from '../support/azurite.ts';
import { createBlobProxy } from '../support/blob-proxy.ts';

// The SDK caches tokens for the whole process by identity, so each test has an identity of its own.
let azurite: Azurite;
let endpoint: Server;
let endpointUrl: string;
let asked: URL[] = [];
let respond: (request: IncomingMessage, answer: ServerResponse) => void;
const { signal } = new AbortController();

beforeAll(async () => {
  azurite = await startAzurite({ oauth: true });
  endpoint = createServer((request, answer) => {
    asked.push(new URL(request.url ?? '/', 'http://endpoint'));
    respond(request, answer);
  });
  endpoint.listen(0, '127.0.0.1');
  await new Promise((resolve) => endpoint.once('listening', resolve));
  // A server that listens on a TCP port has an AddressInfo.
  endpointUrl = `http://127.0.0.1:${(endpoint.address() as AddressInfo).port}`;
});
afterAll(async () => {
  endpoint.closeAllConnections();
  endpoint.close();
  await azurite.stop();
});
beforeEach(() => {
  asked = [];
  respond = issue;
});

/** As the Instance Metadata Service answers: numbers as strings. */
function issue(request: IncomingMessage, answer: ServerResponse): void {
  if (request.headers['metadata'] !== 'true') {
    answer.writeHead(400).end();
    return;
  }
  const now = Math.floor(Date.now() / 1000);
  const claims = {
    aud: 'https://storage.azure.com',
    iss: 'https://sts.windows.net/tenant/',
    iat: now - 60,
    nbf: now - 60,
    exp: now + 86_400,
  };
  const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url');
  answer.writeHead(200, { 'content-type': 'application/json' }).end(
    JSON.stringify({
      access_token: `${encode({ alg: 'none', typ: 'JWT' })}.${encode(claims)}.c2ln`,
      refresh_token: '',
      expires_in: '86400',
      expires_on: String(now + 86_400),
      not_before: String(now - 60),
      resource: 'https://storage.azure.com',
      token_type: 'Bearer',
    }),
  );
}

function fetcherOf(clientId: string) {
  return createManagedIdentityFetcher(
    { clientId, endpoint: endpointUrl, silenceMsMax: 300 },
    { clock: systemClock },
  );
}

async function open(clientId?: string) {
  return createAzureBlobStore({
    url: azurite.containerUrl('identity'),
    auth: { kind: 'managed-identity', ...(clientId !== undefined && { clientId }) },
    identityEndpoint: `${endpointUrl}/`,
    ...(azurite.ca !== undefined && { ca: azurite.ca }),
  });
}

test('an endpoint that accepts and says nothing is given up after one attempt’s time, and its connection is closed', async () => {
  const closed = Promise.withResolvers<void>();
  respond = (request) => void request.socket.once('close', () => closed.resolve());
  // First of all tests, as the SDK keeps the connections of the first client for all later ones.
  const identity = { clientId: 'client-mute', endpoint: endpointUrl, silenceMsMax: 300 };
  const fetcher = await createManagedIdentityFetcher(identity, { clock: systemClock });
  const tokens = createTokenSource({ attemptMs: 200, renewEveryMs: 60_000 }, { clock: systemClock, fetcher });
  await expect(tokens.token(signal)).rejects.toMatchObject({ code: 'no-token' });
  await closed.promise;
  respond = issue;
  expect(await tokens.token(signal)).toContain('.');
});

test('the VM’s identity opens the store over TLS: token endpoint, SDK, Blob service', async () => {
  const emulator = await createAzureBlobStore({
    url: azurite.containerUrl('identity'),
    auth: { kind: 'azurite' },
    ...(azurite.ca !== undefined && { ca: azurite.ca }),
  });
  await emulator.ensureContainer(signal);
  emulator.stop();
  const store = await open();
  store.start();
  await store.ensureContainer(signal);
  await store.keepWarm(signal);
  const write = {
    condition: { ifNone: true },
    metadata: { by: 'identity' },
    contentType: 'text/plain',
  } as const;
  await store.put('file', Buffer.from('by identity'), write, signal);
  expect(Buffer.from(await store.read('file', { bytesMax: 100 }, signal)).toString()).toBe('by identity');
  expect(store.tokenError()).toBeUndefined();
  store.stop();
  expect(asked).toHaveLength(1);
  // The SDK adds a slash that the service takes.
  expect(asked[0]?.pathname).toMatch(/^\/metadata\/identity\/oauth2\/token\/?$/);
  expect(asked[0]?.searchParams.get('resource')).toContain('https://storage.azure.com');
  expect(asked[0]?.searchParams.has('client_id')).toBe(false);
});

test('a certificate that is not trusted fails at once and says so', async () => {
  const store = await createAzureBlobStore({
    url: azurite.containerUrl('identity'),
    auth: { kind: 'azurite' },
  });
  await expect(store.head('file', signal)).rejects.toMatchObject({
    code: 'network',
    message: expect.not.stringContaining('tries'),
    remedy: expect.stringContaining('certificate'),
  });
  store.stop();
});

test('a token is asked for the configured identity, from memory afterwards, and not through a proxy', async () => {
  await using trap = await createBlobProxy('http://127.0.0.1:1');
  const variables = ['HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY'];
  for (const variable of variables) process.env[variable] = trap.url;
  try {
    const fetcher = await fetcherOf('client-direct');
    const { lifeMs } = await fetcher.fetch();
    expect(lifeMs).toBeGreaterThan(86_000_000);
    await fetcher.fetch();
  } finally {
    for (const variable of variables) Reflect.deleteProperty(process.env, variable);
  }
  expect(trap.requests).toEqual([]);
  expect(asked.map((url) => url.searchParams.get('client_id'))).toEqual(['client-direct']);
});

test.each([400, 404, 410, 429, 500, 503])(
  'HTTP %i from the endpoint is asked about once, not for a minute',
  async (status) => {
    respond = (_, answer) => {
      const body = { error: 'invalid_request', error_description: 'Identity not found' };
      answer
        .writeHead(status, { 'content-type': 'application/json', 'retry-after': '1' })
        .end(JSON.stringify(body));
    };
    const fetcher = await fetcherOf(`client-${status}`);
    await expect(fetcher.fetch()).rejects.toMatchObject({
      code: 'no-token',
      message: expect.stringContaining(`client-${status}`),
      remedy: expect.stringContaining('clientId'),
    });
    expect(asked).toHaveLength(1);
  },
);

test('a broken answer fails without a word of the token in it', async () => {
  for (const body of ['{"access_token":"SECRET-TOKEN', '<html>SECRET-TOKEN</html>', '']) {
    respond = (_, answer) => answer.writeHead(200, { 'content-type': 'application/json' }).end(body);
    const fetcher = await fetcherOf('client-broken');
    const failure: unknown = await fetcher.fetch().then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(failure).toMatchObject({ code: 'no-token' });
    expect(inspect(failure, { depth: 10, showHidden: true })).not.toContain('SECRET-TOKEN');
  }
});

test('an answer without an expiry is a token that lives for no time it knows of', async () => {
  respond = (_, answer) => {
    answer.writeHead(200, { 'content-type': 'application/json' }).end('{"access_token":"t"}');
  };
  const fetched = await (await fetcherOf('client-no-expiry')).fetch();
  expect(fetched.token).toBe('t');
  expect(fetched.lifeMs).toBeLessThan(1000);
});

test('a store without a token fails as no-token inside its signal, though the SDK ignores signals', async () => {
  respond = () => undefined;
  const store = await open('client-none');
  const startedAt = performance.now();
  await expect(store.head('file', AbortSignal.timeout(100))).rejects.toMatchObject({ code: 'aborted' });
  expect(performance.now() - startedAt).toBeLessThan(2000);
  store.stop();
  respond = (_, answer) => answer.writeHead(404).end();
  const refused = await open('client-refused');
  await expect(refused.head('file', signal)).rejects.toMatchObject({
    code: 'no-token',
    remedy: expect.stringContaining('az vm identity show'),
  });
  refused.stop();
});
