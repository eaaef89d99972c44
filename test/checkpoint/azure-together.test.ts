import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';

import { EvictdError } from '../../src/base/errors.ts';
import { createAzureBlobStore, type AzureBlobStore } from '../../src/checkpoint/azure-store.ts';
import type { SmallWrite } from '../../src/checkpoint/store.ts';
import { startAzurite, type Azurite, signatureFor } from '../support/azurite.ts';
import { createBlobProxy, operations, type BlobProxy, type ProxiedRequest } from '../support/blob-proxy.ts';
import { type TestFolder, testFolder } from '../support/file-tree.ts';

const LIMITS = { tryTimeoutMs: 600_000, patienceMs: 600_000, firstDelayMs: 2, delayMsMax: 10 };
const COMMON = { metadata: { of: 'all' }, contentType: 'application/octet-stream' };
/** Together worth a thread. */
const BYTES = 9000;
const { signal } = new AbortController();

let azurite: Azurite;
let proxy: BlobProxy;
let folder: TestFolder;
let store: AzureBlobStore;
let serial = 0;

beforeAll(async () => {
  azurite = await startAzurite();
  const url = azurite.containerUrl('together');
  const owner = await createAzureBlobStore({ url, auth: { kind: 'azurite' } });
  await owner.ensureContainer(signal);
  owner.stop();
  proxy = await createBlobProxy(url);
  folder = await testFolder();
  await writeFile(join(folder.path, 'signature'), signatureFor('together', 'rwdlc'), { mode: 0o600 });
});
afterAll(async () => {
  await proxy.close();
  await azurite.stop();
  await folder[Symbol.asyncDispose]();
});
beforeEach(async () => {
  proxy.reset();
  store = await open();
});
afterEach(() => store.stop());

function open(limits = {}): Promise<AzureBlobStore> {
  const auth = { kind: 'sas', file: join(folder.path, 'signature') } as const;
  return createAzureBlobStore({ url: proxy.url, auth, limits: { ...LIMITS, ...limits } });
}

function fiveWrites(): SmallWrite[] {
  const group = ++serial;
  return Array.from({ length: 5 }, (_, number) => ({
    name: `group-${group}/${number}`,
    body: Buffer.alloc(BYTES, String(number)),
    condition: { ifNone: true },
    metadata: { own: String(number) },
  }));
}

/** Of each what came of it. */
async function put(writes: readonly SmallWrite[], to = store, until = signal) {
  const outcomes = await to.putTogether?.(writes, COMMON, until);
  return outcomes?.map((outcome) => (outcome instanceof EvictdError ? outcome.code : 'written'));
}

async function expectAllThere(writes: readonly SmallWrite[]): Promise<void> {
  for (const { name, body } of writes)
    expect(Buffer.from(await store.read(name, { bytesMax: BYTES }, signal))).toEqual(body);
}

const isOf = (number: number) => (request: ProxiedRequest) =>
  operations.put(request) && request.path.endsWith(`/${number}`);
const putsOf = (number: number) => proxy.requests.filter(isOf(number)).length;

test('those that are refused for now are tried again, and no other is', async () => {
  for (const number of [1, 3])
    proxy.fail({ fault: { kind: 'status', status: 503 }, match: isOf(number), times: 2 });
  proxy.fail({ fault: { kind: 'reset' }, match: isOf(4) });
  const writes = fiveWrites();
  expect(await put(writes)).toEqual(writes.map(() => 'written'));
  expect([0, 1, 2, 3, 4].map(putsOf)).toEqual([1, 3, 1, 3, 2]);
  await expectAllThere(writes);
});

test('one that is refused for good keeps no other from being written', async () => {
  proxy.fail({ fault: { kind: 'status', status: 403 }, match: isOf(2) });
  const writes = fiveWrites();
  expect(await put(writes)).toEqual(['written', 'written', 'forbidden', 'written', 'written']);
});

test('one that took effect behind a lost answer succeeds with its own ETag', async () => {
  proxy.fail({ fault: { kind: 'drop-answer' }, match: isOf(2) });
  const writes = fiveWrites();
  const outcomes = await store.putTogether?.(writes, COMMON, signal);
  const head = await store.head(writes[2]?.name ?? '', signal);
  expect(outcomes?.[2]).toEqual({ etag: head?.etag });
  expect(head?.metadata).toEqual(expect.objectContaining({ of: 'all', own: '2' }));
});

test('a connection that dies without a word costs no more than a second try of what went over it', async () => {
  proxy.fail({ fault: { kind: 'hang' }, match: isOf(1) });
  const quick = await open({ patienceMs: 50 });
  const writes = fiveWrites();
  expect(await put(writes, quick)).toEqual(writes.map(() => 'written'));
  expect(putsOf(1)).toBeGreaterThanOrEqual(2);
  await expectAllThere(writes);
  quick.stop();
});

test('an abort ends those under way, and their memory is free', async () => {
  proxy.fail({ fault: { kind: 'hang' }, match: operations.put, times: 5 });
  const controller = new AbortController();
  const writes = fiveWrites();
  const outcomes = put(writes, store, controller.signal);
  await proxy.arrived(operations.put, 5);
  controller.abort(new Error('enough'));
  expect(await outcomes).toEqual(writes.map(() => 'aborted'));
  expect(proxy.requests).toHaveLength(5);
});

test('where a key signs each request, nothing goes together', async () => {
  const byKey = await createAzureBlobStore({ url: proxy.url, auth: { kind: 'azurite' } });
  expect('putTogether' in byKey).toBe(false);
  byKey.stop();
});
