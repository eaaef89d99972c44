import { getEventListeners } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';

import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';

import { systemClock, type Clock } from '../../../src/base/clock.ts';
import { createAzureStore, type AzureStore } from '../../../src/checkpoint/store/azure/azure-store.ts';
import { createOnce } from '../../../src/checkpoint/store/create-once.ts';
import { startAzurite, type Azurite } from '../../support/azurite.ts';
import { createBlobProxy, operations, type BlobProxy } from '../../support/blob-proxy.ts';
import { TYPE, signal } from './store-subject.ts';

const LIMITS = { tryTimeoutMs: 1500, firstDelayMs: 2, delayMsMax: 10, retryAfterMsMax: 5000 };

let azurite: Azurite;
let proxy: BlobProxy;
let store: AzureStore;
let serial = 0;
let name = '';

beforeAll(async () => {
  azurite = await startAzurite();
  proxy = await createBlobProxy(azurite.containerUrl());
});
afterAll(async () => {
  await proxy.close();
  await azurite.stop();
});
beforeEach(async () => {
  name = `blob-${++serial}`;
  proxy.reset();
  store = await open();
  await store.ensureContainer(signal);
  proxy.reset();
});
afterEach(() => store.close());

function open(limits = {}, clock: Clock = systemClock, random = Math.random()): Promise<AzureStore> {
  return createAzureStore(
    { url: proxy.url, auth: { kind: 'azurite' }, limits: { ...LIMITS, ...limits } },
    { clock, random: () => random },
  );
}

const put = (one = store, wish: AbortSignal = signal) => one.create(name, Buffer.from('x'), TYPE, wish);

async function content(): Promise<string> {
  return Buffer.from(await store.read(name, { bytesMax: 1000 }, signal)).toString();
}

test.each([408, 429, 500, 502, 503, 504])('HTTP %i is tried again', async (status) => {
  proxy.fail({ fault: { kind: 'status', status }, times: 2 });
  await put();
  expect(proxy.requests.map((request) => request.status)).toEqual([status, status, 201]);
});

test.each([
  [400, 'refused'],
  [401, 'unauthenticated'],
  [403, 'forbidden'],
  [409, 'refused'],
  [412, 'refused'],
  [413, 'too-large'],
  [416, 'refused'],
])('HTTP %i is %s at once', async (status, code) => {
  proxy.fail({ fault: { kind: 'status', status }, times: 9 });
  await expect(put()).rejects.toMatchObject({ code });
  expect(proxy.requests).toHaveLength(1);
});

test.each(['reset', 'drop-answer'] as const)('a connection lost by %s is tried again', async (kind) => {
  proxy.fail({ fault: { kind } });
  await put();
  expect(proxy.requests).toHaveLength(2);
});

test('tries end, and the error says how often, what and why', async () => {
  const headers = { 'x-ms-error-code': 'ServerBusy', 'x-ms-request-id': 'abc-1' };
  proxy.fail({ fault: { kind: 'status', status: 503, headers }, times: 99 });
  const hurried = await open({ throttledTriesMax: 5 });
  await expect(put(hurried)).rejects.toMatchObject({
    code: 'throttled',
    message: `could not create ${name}: HTTP 503 ServerBusy (request abc-1) (after 5 tries)`,
  });
  expect(proxy.requests).toHaveLength(5);
  await hurried.close();
});

test('a server that accepts and says nothing costs one try, not the call', async () => {
  const quick = await open({ tryTimeoutMs: 150 });
  proxy.fail({ fault: { kind: 'hang' } });
  await put(quick);
  proxy.fail({ fault: { kind: 'hang' }, times: 9 });
  const failed = put(quick);
  await expect(failed).rejects.toMatchObject({ code: 'timeout', message: expect.stringContaining('150 ms') });
  await quick.close();
});

test.each(['hang', 'hang-answer'] as const)(
  'connections that die without a word (%s) do not use up the time of what goes over them',
  async (kind) => {
    const quick = await open({ tryTimeoutMs: 600_000, hedgeAfterMs: 50 });
    // Each operation loses its first connection.
    for (const match of [operations.put, operations.list, operations.read])
      proxy.fail({ fault: { kind }, match });
    await put(quick);
    expect((await quick.list(name, {}, signal)).items).toHaveLength(1);
    expect(Buffer.from(await quick.read(name, { bytesMax: 9 }, signal)).toString()).toBe('x');
    for (const match of [operations.put, operations.list, operations.read])
      expect(proxy.requests.filter(match).length).toBeGreaterThanOrEqual(2);
    await quick.close();
  },
);

test('an abort ends the call and its connection at once, also while it waits to try again', async () => {
  for (const fault of [
    { kind: 'hang' },
    { kind: 'status', status: 503, headers: { 'retry-after': '30' } },
  ] as const) {
    proxy.reset();
    proxy.fail({ fault, times: 9 });
    const controller = new AbortController();
    const patient = await open({ tryTimeoutMs: 30_000, retryAfterMsMax: 30_000 });
    const call = put(patient, controller.signal);
    await proxy.arrived(operations.put);
    const startedAt = performance.now();
    controller.abort(new Error('enough'));
    await expect(call).rejects.toMatchObject({ code: 'aborted', message: expect.stringContaining('enough') });
    expect(performance.now() - startedAt).toBeLessThan(15_000);
    expect(proxy.requests).toHaveLength(1);
    await patient.close();
  }
});

test('Retry-After is waited for, in seconds or as a date, and cut to its limit', async () => {
  const sleeps: number[] = [];
  const clock: Clock = {
    ...systemClock,
    timer(delayMs, fire) {
      if (![2500, 6000].includes(delayMs)) return systemClock.timer(delayMs, fire);
      sleeps.push(delayMs);
      return systemClock.timer(0, fire);
    },
  };
  const timed = await open({ delayMsMax: 2000 }, clock, 0.5);
  const date = 'Sat, 21 Nov 2026 10:00:00 GMT';
  const later = 'Sat, 21 Nov 2026 10:00:02 GMT';
  proxy.fail({ fault: { kind: 'status', status: 503, headers: { 'retry-after': '2' } } });
  proxy.fail({ fault: { kind: 'status', status: 429, headers: { 'retry-after': later, date } } });
  proxy.fail({ fault: { kind: 'status', status: 503, headers: { 'retry-after': '600' } } });
  await put(timed);
  // Stretched by a quarter, or by half of the longest pause.
  expect(sleeps).toEqual([2500, 2500, 6000]);
  await timed.close();
});

test('an answer that breaks off half-way is read again', async () => {
  await store.create(name, Buffer.from('0123456789'.repeat(50)), TYPE, signal);
  proxy.reset();
  for (const match of [operations.read, operations.list])
    proxy.fail({ fault: { kind: 'cut-answer' }, match, times: 2 });
  expect(await content()).toBe('0123456789'.repeat(50));
  expect(proxy.requests.filter(operations.read)).toHaveLength(3);
  expect((await store.list(name, {}, signal)).items).toMatchObject([{ name }]);
  expect(proxy.requests.filter(operations.list)).toHaveLength(3);
});

test.each([
  ['a lost answer', { kind: 'drop-answer' }],
  ['an answer that never comes', { kind: 'hang-answer' }],
] as const)('a write that took effect behind %s is found to be ours', async (_, fault) => {
  const quick = await open({ tryTimeoutMs: 400 });
  proxy.fail({ fault, match: operations.put });
  const body = Buffer.from('content');
  expect(await createOnce(quick, name, body, TYPE, signal)).toMatchObject({ outcome: 'ours' });
  proxy.fail({ fault, match: ({ method }) => method === 'DELETE' });
  expect(await quick.remove(name, signal)).toEqual({ outcome: 'absent' });
  expect((await quick.list(name, {}, signal)).items).toEqual([]);
  await quick.close();
});

test('a name that was taken all along stays the other one\u2019s behind a lost request', async () => {
  await store.create(name, Buffer.from('theirs'), TYPE, signal);
  proxy.fail({ fault: { kind: 'reset' }, match: operations.put });
  expect(await createOnce(store, name, Buffer.from('late'), TYPE, signal)).toMatchObject({
    outcome: 'other',
  });
  expect(await content()).toBe('theirs');
});

test('a redirect is refused, not followed', async () => {
  const headers = { location: `${proxy.url}/elsewhere` };
  proxy.fail({ fault: { kind: 'status', status: 307, headers }, times: 9 });
  await expect(store.list(name, {}, signal)).rejects.toMatchObject({ code: 'refused' });
  expect(proxy.requests).toHaveLength(1);
});

test('a page of HTML with status 200 is no answer to anything', async () => {
  const headers = { 'content-type': 'text/html' };
  const fault = { kind: 'status', status: 200, headers, body: '<html>sign in</html>' } as const;
  proxy.fail({ fault, times: Infinity });
  const calls = [
    store.list('', {}, signal),
    store.folders('', {}, signal),
    store.read(name, { bytesMax: 99 }, signal),
    store.create(name, Buffer.from('x'), TYPE, signal),
    store.remove(name, signal),
  ];
  for (const outcome of await Promise.allSettled(calls))
    expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'bad-answer' } });
});

test.each(['a proxy', 'no URL at all'])('proxy variables with %s are ignored', async (what) => {
  await using trap = await createBlobProxy('http://127.0.0.1:1');
  const variables = ['HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY', 'http_proxy', 'https_proxy', 'all_proxy'];
  for (const variable of variables) process.env[variable] = what === 'a proxy' ? trap.url : what;
  try {
    // The SDK reads the variables when a client is made.
    const direct = await open();
    await put(direct);
    await direct.close();
  } finally {
    for (const variable of variables) Reflect.deleteProperty(process.env, variable);
  }
  expect(trap.requests).toEqual([]);
  expect(proxy.requests).toHaveLength(1);
});

test('a refused connection and a name that does not resolve are tried again and called network', async () => {
  const socket = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => socket.once('listening', resolve));
  // A server that listens on a TCP port has an AddressInfo.
  const { port } = socket.address() as AddressInfo;
  await new Promise((resolve) => socket.close(resolve));
  const url = `http://127.0.0.1:${port}/devstoreaccount1/container`;
  const closed = await createAzureStore(
    { url, auth: { kind: 'azurite' }, limits: LIMITS },
    { clock: systemClock },
  );
  await expect(closed.list('', {}, signal)).rejects.toMatchObject({
    code: 'network',
    message: expect.stringMatching(/ECONNREFUSED \(after 5 tries\)/),
  });
  await closed.close();
});

test('a resolver that is not up yet (EAI_AGAIN) is asked again', async () => {
  let asked = 0;
  const port = new URL(proxy.url).port;
  const named = await createAzureStore(
    {
      url: `http://devstoreaccount1.blob.localhost:${port}/${proxy.url.split('/').at(-1)}`,
      auth: { kind: 'azurite' },
      limits: LIMITS,
    },
    {
      clock: systemClock,
      lookup: (_host, options, callback) => {
        asked++;
        if (asked < 3) callback(Object.assign(new Error('resolver'), { code: 'EAI_AGAIN' }), '', 4);
        else if (options.all === true) callback(null, [{ address: '127.0.0.1', family: 4 }]);
        else callback(null, '127.0.0.1', 4);
      },
    },
  );
  // Host-style URL: the account is in the host name.
  await named.create(name, Buffer.from('by name'), TYPE, signal);
  expect(asked).toBe(3);
  expect(await content()).toBe('by name');
  await named.close();
});

test('fifty blobs at once under one signal leave nothing behind', async () => {
  const warnings: Error[] = [];
  const onWarning = (warning: Error) => warnings.push(warning);
  process.on('warning', onWarning);
  const controller = new AbortController();
  const names = Array.from({ length: 50 }, (_, index) => `${name}/${index}`);
  await Promise.all(names.map((one) => store.create(one, Buffer.alloc(1000), TYPE, controller.signal)));
  process.off('warning', onWarning);
  expect(warnings).toEqual([]);
  expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
  expect(proxy.requests.reduce((sum, request) => sum + request.bytes, 0)).toBe(50_000);
  expect((await store.list(`${name}/`, {}, signal)).items).toHaveLength(50);
});

test('a store that was closed says so', async () => {
  const closed = await open();
  await put(closed);
  await closed.close();
  await expect(closed.list('', {}, signal)).rejects.toMatchObject({
    code: 'aborted',
    message: expect.stringContaining('was closed'),
  });
});
