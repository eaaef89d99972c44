import { getEventListeners } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';

import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';

import { systemClock, type Clock } from '../../src/base/clock.ts';
import { createAzureBlobStore, type AzureBlobStore } from '../../src/checkpoint/azure-store.ts';
import type { WriteOptions } from '../../src/checkpoint/store.ts';
import { startAzurite, type Azurite } from '../support/azurite.ts';
import { createBlobProxy, operations, type BlobProxy } from '../support/blob-proxy.ts';

const LIMITS = { tryTimeoutMs: 1500, firstDelayMs: 2, delayMsMax: 10, retryAfterMsMax: 5000 };
const BLOCK_ID = Buffer.from('0123456789').toString('base64');
const { signal } = new AbortController();

let azurite: Azurite;
let proxy: BlobProxy;
let store: AzureBlobStore;
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
afterEach(() => store.stop());

function open(limits = {}, clock: Clock = systemClock, random = Math.random()): Promise<AzureBlobStore> {
  return createAzureBlobStore(
    { url: proxy.url, auth: { kind: 'azurite' }, limits: { ...LIMITS, ...limits } },
    { clock, random: () => random },
  );
}

function write(condition: WriteOptions['condition'], metadata = {}): WriteOptions {
  return { condition, metadata, contentType: 'application/octet-stream' };
}

async function content(): Promise<string> {
  return Buffer.from(await store.read(name, { bytesMax: 1000 }, signal)).toString();
}

test.each([408, 429, 500, 502, 503, 504])('HTTP %i is tried again', async (status) => {
  proxy.fail({ fault: { kind: 'status', status }, times: 2 });
  await store.stageBlock(name, BLOCK_ID, Buffer.from('x'), signal);
  expect(proxy.requests.map((request) => request.status)).toEqual([status, status, 201]);
});

test.each([
  [400, 'refused'],
  [401, 'unauthenticated'],
  [403, 'forbidden'],
  [404, 'not-found'],
  [409, 'conflict'],
  [412, 'conflict'],
  [413, 'too-large'],
  [416, 'refused'],
])('HTTP %i is %s at once', async (status, code) => {
  proxy.fail({ fault: { kind: 'status', status }, times: 9 });
  await expect(store.stageBlock(name, BLOCK_ID, Buffer.from('x'), signal)).rejects.toMatchObject({ code });
  expect(proxy.requests).toHaveLength(1);
});

test.each(['reset', 'drop-answer'] as const)('a connection lost by %s is tried again', async (kind) => {
  proxy.fail({ fault: { kind } });
  await store.stageBlock(name, BLOCK_ID, Buffer.from('x'), signal);
  expect(proxy.requests).toHaveLength(2);
});

test('tries end, and the error says how often, what and why', async () => {
  const headers = { 'x-ms-error-code': 'ServerBusy', 'x-ms-request-id': 'abc-1' };
  proxy.fail({ fault: { kind: 'status', status: 503, headers }, times: 99 });
  const hurried = await open({ throttledTriesMax: 5 });
  await expect(hurried.stageBlock(name, BLOCK_ID, Buffer.from('x'), signal)).rejects.toMatchObject({
    code: 'throttled',
    message: `could not stage a block of ${name}: HTTP 503 ServerBusy (request abc-1) (after 5 tries)`,
  });
  expect(proxy.requests).toHaveLength(5);
  hurried.stop();
});

test('a server that accepts and says nothing costs one try, not the call', async () => {
  const quick = await open({ tryTimeoutMs: 150 });
  proxy.fail({ fault: { kind: 'hang' } });
  await quick.stageBlock(name, BLOCK_ID, Buffer.from('x'), signal);
  proxy.fail({ fault: { kind: 'hang' }, times: 9 });
  const failed = quick.stageBlock(name, BLOCK_ID, Buffer.from('x'), signal);
  await expect(failed).rejects.toMatchObject({ code: 'timeout', message: expect.stringContaining('150 ms') });
  quick.stop();
});

test.each(['hang', 'hang-answer'] as const)(
  'connections that die without a word (%s) do not use up the time of what goes over them',
  async (kind) => {
    const quick = await open({ tryTimeoutMs: 600_000, patienceMs: 50 });
    // Each operation loses its first connection.
    for (const match of [operations.stageBlock, operations.commit, operations.snapshot])
      proxy.fail({ fault: { kind }, match });
    await quick.stageBlock(name, BLOCK_ID, Buffer.from('x'), signal);
    const { etag } = await quick.commitBlocks(name, [BLOCK_ID], write({ ifNone: true }), signal);
    await quick.snapshot(name, etag, signal);
    proxy.fail({ fault: { kind }, match: operations.head });
    expect(await quick.head(name, signal)).toMatchObject({ etag });
    expect(await content()).toBe('x');
    for (const match of [operations.stageBlock, operations.commit, operations.snapshot])
      expect(proxy.requests.filter(match).length).toBeGreaterThanOrEqual(2);
    quick.stop();
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
    const call = patient.stageBlock(name, BLOCK_ID, Buffer.from('x'), controller.signal);
    await proxy.arrived(operations.stageBlock);
    const startedAt = performance.now();
    controller.abort(new Error('enough'));
    await expect(call).rejects.toMatchObject({ code: 'aborted', message: expect.stringContaining('enough') });
    expect(performance.now() - startedAt).toBeLessThan(15_000);
    expect(proxy.requests).toHaveLength(1);
    patient.stop();
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
  await timed.stageBlock(name, BLOCK_ID, Buffer.from(''), signal);
  // Stretched by a quarter, or by half of the longest pause.
  expect(sleeps).toEqual([2500, 2500, 6000]);
  timed.stop();
});

test('an answer that breaks off half-way is read again', async () => {
  await store.put(name, Buffer.from('0123456789'.repeat(50)), write({ ifNone: true }), signal);
  proxy.reset();
  proxy.fail({ fault: { kind: 'cut-answer' }, match: operations.read, times: 2 });
  expect(await content()).toHaveLength(500);
  expect(proxy.requests.filter(operations.read)).toHaveLength(3);
  proxy.fail({ fault: { kind: 'cut-answer' }, match: operations.blockList });
  proxy.fail({ fault: { kind: 'cut-answer' }, match: operations.list });
  expect(await store.blocks(name, signal)).toMatchObject({ uncommitted: [] });
  const listed = [];
  for await (const item of store.list(name, signal)) listed.push(item.name);
  expect(listed).toEqual([name]);
});

test.each([
  ['a lost answer', { kind: 'drop-answer' }],
  ['an answer that never comes', { kind: 'hang-answer' }],
] as const)('a write that took effect behind %s succeeds with its own ETag', async (_, fault) => {
  const quick = await open({ tryTimeoutMs: 400 });
  await quick.stageBlock(name, BLOCK_ID, Buffer.from('abc'), signal);
  proxy.fail({ fault, match: operations.commit });
  const first = await quick.commitBlocks(name, [BLOCK_ID], write({ ifNone: true }, { a: '1' }), signal);
  expect(await quick.head(name, signal)).toEqual({ etag: first.etag, metadata: { a: '1' } });

  proxy.fail({ fault, match: operations.commit });
  const second = await quick.commitBlocks(name, [BLOCK_ID, BLOCK_ID], write({ ifEtag: first.etag }), signal);
  expect(await quick.head(name, signal)).toEqual({ etag: second.etag, metadata: {} });

  proxy.fail({ fault, match: operations.put });
  const third = await quick.put(`${name}-put`, Buffer.from('x'), write({ ifNone: true }), signal);
  expect((await quick.head(`${name}-put`, signal))?.etag).toBe(third.etag);

  proxy.fail({ fault, match: operations.snapshot });
  const snapshot = await quick.snapshot(name, second.etag, signal);
  expect(Buffer.from(await quick.read(name, { snapshot, bytesMax: 10 }, signal)).toString()).toBe('abcabc');
  quick.stop();
});

test('a conflict after a lost answer stays a conflict when the blob is another writer’s', async () => {
  const { etag } = await store.put(name, Buffer.from('mine'), write({ ifNone: true }), signal);
  await store.put(name, Buffer.from('theirs'), write({ ifEtag: etag }), signal);
  proxy.fail({ fault: { kind: 'reset' }, match: operations.put });
  const late = store.put(name, Buffer.from('late'), write({ ifEtag: etag }), signal);
  await expect(late).rejects.toMatchObject({ code: 'conflict' });
  expect(await content()).toBe('theirs');
});

test('a redirect is refused, not followed', async () => {
  const headers = { location: `${proxy.url}/elsewhere` };
  proxy.fail({ fault: { kind: 'status', status: 307, headers }, times: 9 });
  await expect(store.head(name, signal)).rejects.toMatchObject({ code: 'refused' });
  expect(proxy.requests).toHaveLength(1);
});

test('a page of HTML with status 200 is no block list', async () => {
  const headers = { 'content-type': 'text/html' };
  const fault = { kind: 'status', status: 200, headers, body: '<html>sign in</html>' } as const;
  proxy.fail({ fault, times: 9 });
  await expect(store.blocks(name, signal)).rejects.toMatchObject({ code: 'bad-answer' });
});

test('proxy variables are ignored', async () => {
  await using trap = await createBlobProxy('http://127.0.0.1:1');
  const variables = ['HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY', 'http_proxy', 'https_proxy', 'all_proxy'];
  for (const variable of variables) process.env[variable] = trap.url;
  try {
    // The SDK reads the variables when a client is made.
    const direct = await open();
    await direct.stageBlock(name, BLOCK_ID, Buffer.from('x'), signal);
    direct.stop();
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
  const closed = await createAzureBlobStore({ url, auth: { kind: 'azurite' }, limits: LIMITS });
  await expect(closed.head(name, signal)).rejects.toMatchObject({
    code: 'network',
    message: expect.stringMatching(/ECONNREFUSED \(after 5 tries\)/),
  });
  closed.stop();
});

test('a resolver that is not up yet (EAI_AGAIN) is asked again', async () => {
  let asked = 0;
  const port = new URL(proxy.url).port;
  const named = await createAzureBlobStore(
    {
      url: `http://devstoreaccount1.blob.localhost:${port}/${proxy.url.split('/').at(-1)}`,
      auth: { kind: 'azurite' },
      limits: LIMITS,
    },
    {
      lookup: (_host, options, callback) => {
        asked++;
        if (asked < 3) callback(Object.assign(new Error('resolver'), { code: 'EAI_AGAIN' }), '', 4);
        else if (options.all === true) callback(null, [{ address: '127.0.0.1', family: 4 }]);
        else callback(null, '127.0.0.1', 4);
      },
    },
  );
  // Host-style URL: the account is in the host name.
  await named.put(name, Buffer.from('by name'), write({ ifNone: true }), signal);
  expect(asked).toBe(3);
  expect(await content()).toBe('by name');
  named.stop();
});

test('fifty blocks at once under one signal use no more connections than allowed and leave nothing behind', async () => {
  const warnings: Error[] = [];
  const onWarning = (warning: Error) => warnings.push(warning);
  process.on('warning', onWarning);
  const controller = new AbortController();
  const blocks = Array.from({ length: 50 }, (_, index) =>
    Buffer.from(String(index).padStart(10)).toString('base64'),
  );
  await Promise.all(blocks.map((id) => store.stageBlock(name, id, Buffer.alloc(1000), controller.signal)));
  process.off('warning', onWarning);
  expect(warnings).toEqual([]);
  expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
  expect(proxy.requests.reduce((sum, request) => sum + request.bytes, 0)).toBe(50_000);
  expect((await store.blocks(name, signal))?.uncommitted).toHaveLength(50);
});
