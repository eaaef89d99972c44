import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterAll, beforeAll, expect, test } from 'vitest';

import { systemClock } from '../../../src/base/clock.ts';
import {
  type AzureLimits,
  type AzureStore,
  createAzureStore,
} from '../../../src/checkpoint/store/azure/azure-store.ts';
import { listAll } from '../../../src/checkpoint/store/list-all.ts';
import { type Azurite, signatureFor, startAzurite } from '../../support/azurite.ts';
import { testFolder } from '../../support/file-tree.ts';
import { createMemoryBlobs } from '../../support/memory-blobs.ts';
import {
  type Profile,
  type QuirkOptions,
  type QuirkProxy,
  createQuirkProxy,
} from '../../support/quirk-proxy.ts';
import { describeBlobStore } from './store-contract.ts';
import { TYPE, signal } from './store-subject.ts';

let azurite: Azurite;
beforeAll(async () => {
  azurite = await startAzurite();
});
afterAll(() => azurite.stop());

const LIMITS = { firstDelayMs: 1, delayMsMax: 2, retryAfterMsMax: 2, triesMax: 10 };

function open(url: string, limits: Partial<AzureLimits> = LIMITS): Promise<AzureStore> {
  return createAzureStore({ url, auth: { kind: 'azurite' }, limits }, { clock: systemClock });
}

/** On a new container. */
async function opened() {
  const store = await open(azurite.containerUrl());
  await store.ensureContainer(signal);
  return { store, close: () => store.close() };
}

async function behind(profiles: readonly Profile[], options: QuirkOptions = {}) {
  const url = azurite.containerUrl();
  const direct = await open(url);
  await direct.ensureContainer(signal);
  await direct.close();
  const proxy: QuirkProxy = await createQuirkProxy(url, profiles, options);
  const store = await open(proxy.url);
  const close = () => Promise.all([store.close(), proxy[Symbol.asyncDispose]()]);
  return { store, proxy, close, [Symbol.asyncDispose]: async () => void (await close()) };
}

describeBlobStore('in memory', async () => ({ store: createMemoryBlobs().connect() }));
describeBlobStore(
  'in memory, versioned and soft',
  async () => ({
    store: createMemoryBlobs({ isVersioned: true, isPermanent: false }).connect(),
  }),
  { isVersioned: true, isSoft: true },
);
describeBlobStore('Azurite', opened);
describeBlobStore('by a signature, over TLS', async () => {
  const folder = await testFolder();
  const secure = await startAzurite({ oauth: true });
  const where = { url: secure.containerUrl('secure'), ca: secure.ca };
  const owner = await createAzureStore({ ...where, auth: { kind: 'azurite' } }, { clock: systemClock });
  await owner.ensureContainer(signal);
  await owner.close();
  const file = join(folder.path, 'signature');
  await writeFile(file, signatureFor('secure', 'rwdlc'), { mode: 0o600 });
  const store = await createAzureStore({ ...where, auth: { kind: 'sas', file } }, { clock: systemClock });
  const close = () => Promise.all([store.close(), secure.stop(), folder[Symbol.asyncDispose]()]);
  return { store, close };
});
describeBlobStore('flat', () => behind(['flat']));
describeBlobStore('hierarchical', () => behind(['hns']));
describeBlobStore('immutable', () => behind(['worm']), { isImmutable: true });
describeBlobStore('soft delete', () => behind(['softdelete']), { isSoft: true });
describeBlobStore('versioned', () => behind(['versioned']), { isVersioned: true, isSoft: true });
describeBlobStore('with an archive', () => behind(['archive']));
describeBlobStore('clock a little off', () => behind(['skew'], { aheadMs: 10 * 60_000 }));
describeBlobStore('throttled', () => behind(['throttle']));
describeBlobStore('lost answers', () => behind(['lost']), { losesAnswers: true });
describeBlobStore('a role on the container only', () => behind(['container-scope']));

test('folders of a hierarchical account are in no listing, over pages too, and full ones stay', async () => {
  await using account = await behind(['hns']);
  const { store } = account;
  const names = ['p/a-b', 'p/a/1', 'p/a/2', 'p/a/b/c', 'p/z'];
  for (const name of names) await store.create(name, Buffer.from('x'), TYPE, signal);
  await store.create('q/only', Buffer.from('x'), TYPE, signal);
  await store.remove('q/only', signal);
  const listed = async (prefix: string, max: number) => {
    const limited = { list: (_: string, options: object) => store.list(prefix, { ...options, max }, signal) };
    const found = [];
    for await (const item of listAll(limited, prefix, signal)) found.push(item.name);
    return found;
  };
  for (const max of [1, 2, 3, 5000]) expect(await listed('p/', max)).toEqual(names);
  expect(await listed('q', 5000)).toEqual([]);
  await expect(store.remove('p/a', signal)).rejects.toMatchObject({ code: 'refused' });
  await expect(store.create('p/a', Buffer.from('x'), TYPE, signal)).rejects.toMatchObject({
    code: 'refused',
  });
  const deep = Array.from({ length: 62 }, () => 'd').join('/');
  await expect(store.create(deep, Buffer.from('x'), TYPE, signal)).rejects.toMatchObject({ code: 'refused' });
});

test('what is in the archive is listed as that, and says so when it is read', async () => {
  await using account = await behind(['archive'], { archived: new Set(['old']) });
  const { store } = account;
  for (const name of ['new', 'old']) await store.create(name, Buffer.from('x'), TYPE, signal);
  const { items } = await store.list('', {}, signal);
  expect(items).toMatchObject([
    { name: 'new', isArchived: false },
    { name: 'old', isArchived: true },
  ]);
  await expect(store.read('old', { bytesMax: 1 }, signal)).rejects.toMatchObject({
    code: 'archived',
    message: expect.stringContaining('BlobArchived'),
    remedy: expect.stringContaining('set-tier'),
  });
});

test('a clock that is too far off is named in the remedy', async () => {
  await using account = await behind(['skew'], { aheadMs: 20 * 60_000 });
  await expect(account.store.list('', {}, signal)).rejects.toMatchObject({
    code: 'unauthenticated',
    remedy: expect.stringContaining('clock'),
  });
});

test('a missing container is named, with the command that creates it; also where the role hides it', async () => {
  const url = azurite.containerUrl('not-there');
  await using proxy = await createQuirkProxy(url, ['container-scope']);
  const remedy = expect.stringContaining(
    'az storage container create --account-name devstoreaccount1 --name not-there',
  );
  for (const [at, code] of [
    [url, 'container-not-found'],
    [proxy.url, 'forbidden'],
  ] as const) {
    const store = await open(at);
    const calls = [
      store.list('', {}, signal),
      store.read('x', { bytesMax: 1 }, signal),
      store.create('x', Buffer.from('x'), TYPE, signal),
      store.remove('x', signal),
    ];
    for (const outcome of await Promise.allSettled(calls))
      expect(outcome).toMatchObject({ status: 'rejected', reason: { code } });
    await store.close();
  }
  const store = await open(url);
  await expect(store.list('', {}, signal)).rejects.toMatchObject({ remedy });
  await store.close();
});

test('in the emulator the container is created, and it may exist', async () => {
  const { store, close } = await opened();
  await expect(store.ensureContainer(signal)).resolves.toBeUndefined();
  await close();
});

test('requests say a version that every cloud knows, and who sends them', async () => {
  await using account = await behind(['flat']);
  await account.store.list('', {}, signal);
  await account.store.create('x', Buffer.from('x'), TYPE, signal);
  for (const { headers } of account.proxy.requests) {
    expect(headers).toMatchObject({
      'x-ms-version': '2024-11-04',
      'user-agent': expect.stringMatching(/^evictd\/development azsdk-js-azure-storage-blob/),
    });
  }
});
