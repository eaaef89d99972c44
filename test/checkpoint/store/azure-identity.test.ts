import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { inspect } from 'node:util';

import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';

import { systemClock } from '../../../src/base/clock.ts';
import { createManagedIdentityFetcher } from '../../../src/checkpoint/store/azure/identity.ts';
import { createAzureStore } from '../../../src/checkpoint/store/azure/azure-store.ts';
import {
  createTokenSource,
  type TokenSource,
  TOKEN_DEFAULTS,
} from '../../../src/checkpoint/store/azure/token.ts';
import { startAzurite, type Azurite } from '../../support/azurite.ts';
import { createBlobProxy } from '../../support/blob-proxy.ts';
import { identityAnswer } from '../../support/identity-answer.ts';

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

/** As the Instance Metadata Service answers. */
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
  const token = `${encode({ alg: 'none', typ: 'JWT' })}.${encode(claims)}.c2ln`;
  answer
    .writeHead(200, { 'content-type': 'application/json' })
    .end(JSON.stringify(identityAnswer(token, now)));
}

function fetcherOf(clientId: string, limitMs = 20_000) {
  return createManagedIdentityFetcher({ clientId, endpoint: endpointUrl, limitMs }, { clock: systemClock });
}

/** As the main thread has it; `using` stops it. */
function tokensOf(clientId?: string): TokenSource & Disposable {
  const options = { clientId, endpoint: `${endpointUrl}/`, limitMs: 20_000 };
  const fetcher = createManagedIdentityFetcher(options, { clock: systemClock });
  const tokens = createTokenSource(TOKEN_DEFAULTS, { clock: systemClock, fetcher });
  return { ...tokens, [Symbol.dispose]: () => tokens.stop() };
}

async function open(tokens: TokenSource, url = azurite.containerUrl('identity')) {
  const options = { url, auth: { kind: 'managed-identity' }, ca: azurite.ca } as const;
  return createAzureStore(options, { clock: systemClock, tokens });
}

test('an endpoint that accepts and says nothing is given up, and the connection is closed', async () => {
  const asking = Promise.withResolvers<void>();
  const closed = Promise.withResolvers<void>();
  respond = (request) => {
    request.socket.once('close', () => closed.resolve());
    asking.resolve();
  };
  const controller = new AbortController();
  const fetching = fetcherOf('client-mute').fetch(controller.signal);
  await asking.promise;
  controller.abort(new Error('enough'));
  await expect(fetching).rejects.toThrow('enough');
  await closed.promise;
  await expect(fetcherOf('client-mute', 1).fetch()).rejects.toMatchObject({ code: 'timeout' });
});

test('the VM’s identity opens the store over TLS: token endpoint, SDK, Blob service', async () => {
  const url = azurite.containerUrl('identity');
  const options = { url, auth: { kind: 'azurite' }, ca: azurite.ca } as const;
  const emulator = await createAzureStore(options, { clock: systemClock });
  await emulator.ensureContainer(signal);
  await emulator.close();
  using tokens = tokensOf();
  const store = await open(tokens);
  tokens.start();
  await store.ensureContainer(signal);
  await store.create('file', Buffer.from('by identity'), { contentType: 'text/plain' }, signal);
  expect(Buffer.from(await store.read('file', { bytesMax: 100 }, signal)).toString()).toBe('by identity');
  expect(tokens.lastError()).toBeUndefined();
  await store.close();
  expect(asked).toHaveLength(1);
  // The SDK adds a slash that the service takes.
  expect(asked[0]?.pathname).toMatch(/^\/metadata\/identity\/oauth2\/token\/?$/);
  expect(asked[0]?.searchParams.get('resource')).toContain('https://storage.azure.com');
  expect(asked[0]?.searchParams.has('client_id')).toBe(false);
});

test('a token that the service refuses is renewed once, and each request has the newest', async () => {
  const renewed: string[] = [];
  using source = tokensOf();
  const good = await source.token(signal);
  let held = 'refused';
  const tokens = {
    current: () => held,
    token: async () => held,
    async renew(stale: string) {
      renewed.push(stale);
      held = good;
      return true;
    },
  };
  const url = azurite.containerUrl('identity');
  const options = { url, auth: { kind: 'managed-identity' }, ca: azurite.ca } as const;
  const store = await createAzureStore(options, { clock: systemClock, tokens });
  for (let tries = 0; tries < 3; tries++) await store.list('', {}, signal);
  expect(renewed).toEqual(['refused']);
  held = 'refused again';
  await store.list('', {}, signal);
  expect(renewed).toEqual(['refused', 'refused again']);
  await store.close();
});

test('a certificate that is not trusted fails at once and says so', async () => {
  const options = { url: azurite.containerUrl('identity'), auth: { kind: 'azurite' } } as const;
  const store = await createAzureStore(options, { clock: systemClock });
  await expect(store.list('', {}, signal)).rejects.toMatchObject({
    code: 'network',
    message: expect.not.stringContaining('tries'),
    remedy: expect.stringContaining('certificate'),
  });
  await store.close();
});

test('a token is asked for the configured identity, and not through a proxy', async () => {
  await using trap = await createBlobProxy('http://127.0.0.1:1');
  const variables = ['HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY'];
  for (const variable of variables) process.env[variable] = trap.url;
  try {
    const { lifeMs } = await fetcherOf('client-direct').fetch();
    expect(lifeMs).toBeGreaterThan(86_000_000);
  } finally {
    for (const variable of variables) Reflect.deleteProperty(process.env, variable);
  }
  expect(trap.requests).toEqual([]);
  expect(asked.map((url) => url.searchParams.get('client_id'))).toEqual(['client-direct']);
});

test('no bad answer of the endpoint is asked about more than once, or for a minute', async () => {
  respond = (request, answer) => {
    const status = Number(new URL(request.url ?? '/', endpointUrl).searchParams.get('client_id'));
    const body = { error: 'invalid_request', error_description: 'Identity not found' };
    answer
      .writeHead(status, { 'content-type': 'application/json', 'retry-after': '1' })
      .end(JSON.stringify(body));
  };
  const statuses = ['400', '404', '410', '429', '500', '503'];
  const outcomes = await Promise.allSettled(statuses.map((status) => fetcherOf(status).fetch()));
  expect(outcomes).toMatchObject(
    statuses.map((status) => ({
      status: 'rejected',
      reason: {
        code: 'no-token',
        message: expect.stringContaining(`identity ${status}`),
        remedy: expect.stringContaining('clientId'),
      },
    })),
  );
  expect(new Set(asked.map((url) => url.searchParams.get('client_id')))).toEqual(new Set(statuses));
  expect(asked).toHaveLength(statuses.length);
});

test('a broken answer fails without a word of the token in it', async () => {
  for (const body of ['{"access_token":"SECRET-TOKEN', '<html>SECRET-TOKEN</html>', '']) {
    respond = (_, answer) => answer.writeHead(200, { 'content-type': 'application/json' }).end(body);
    const failure: unknown = await fetcherOf('client-broken')
      .fetch()
      .then(
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
  const fetched = await fetcherOf('client-no-expiry').fetch();
  expect(fetched.token).toBe('t');
  expect(fetched.lifeMs).toBeLessThan(1000);
});

test('a store without a token fails as no-token, inside its signal', async () => {
  respond = () => undefined;
  using mute = tokensOf('client-none');
  const store = await open(mute);
  await expect(store.list('', {}, AbortSignal.timeout(100))).rejects.toMatchObject({ code: 'aborted' });
  await store.close();
  respond = (_, answer) => answer.writeHead(404).end();
  using refusing = tokensOf('client-refused');
  const refused = await open(refusing);
  await expect(refused.list('', {}, signal)).rejects.toMatchObject({
    code: 'no-token',
    remedy: expect.stringContaining('az vm identity show'),
  });
  await refused.close();
});
