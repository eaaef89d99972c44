import { afterAll, beforeAll, expect, test } from 'vitest';

import { createAzureBlobStore } from '../../src/checkpoint/azure-store.ts';
import { startAzurite, type Azurite } from '../support/azurite.ts';
import { createBlobProxy } from '../support/blob-proxy.ts';
import { describeBlobStore } from './store-contract.ts';

let azurite: Azurite;
const { signal } = new AbortController();

beforeAll(async () => {
  azurite = await startAzurite();
});
afterAll(() => azurite.stop());

async function emptyContainer() {
  const url = azurite.containerUrl();
  const store = await createAzureBlobStore({ url, auth: { kind: 'azurite' } });
  await store.ensureContainer(signal);
  return { url, store };
}

describeBlobStore(
  'Azurite without TLS',
  async () => {
    const { store } = await emptyContainer();
    return { store, close: async () => store.stop() };
  },
  'Azurite',
  'by key',
);

describeBlobStore(
  'Azurite, every third answer lost',
  async () => {
    const direct = await emptyContainer();
    direct.store.stop();
    const proxy = await createBlobProxy(direct.url);
    let requests = 0;
    proxy.fail({ fault: { kind: 'drop-answer' }, times: Infinity, match: () => ++requests % 3 === 1 });
    const limits = { firstDelayMs: 1, delayMsMax: 2, triesMax: 10 };
    const store = await createAzureBlobStore({ url: proxy.url, auth: { kind: 'azurite' }, limits });
    return {
      store,
      close() {
        store.stop();
        return proxy.close();
      },
    };
  },
  'Azurite',
  'by key',
  'lost answers',
);

test('in the emulator the container is created, and it may exist', async () => {
  const store = await createAzureBlobStore({ url: azurite.containerUrl(), auth: { kind: 'azurite' } });
  await store.ensureContainer(signal);
  await expect(store.ensureContainer(signal)).resolves.toBeUndefined();
  await expect(store.keepWarm(signal)).resolves.toBeUndefined();
  store.stop();
});

test('names are listed below any prefix, and below none', async () => {
  const { store } = await emptyContainer();
  const names = ['a b/c+d', 'a%20b/c', 'a&b=c/d', 'e'];
  const options = { condition: { ifNone: true }, metadata: {}, contentType: 'text/plain' } as const;
  for (const name of names) await store.put(name, Buffer.from('x'), options, signal);
  const listed = async (prefix: string) => {
    const found: string[] = [];
    for await (const { name } of store.list(prefix, signal)) found.push(name);
    return new Set(found);
  };
  expect(await listed('')).toEqual(new Set(names));
  for (const name of names) expect(await listed(name.slice(0, 4))).toEqual(new Set([name]));
  const folders = new Set<string>();
  for await (const name of store.folders('', signal)) folders.add(name);
  expect(folders).toEqual(new Set(['a b/', 'a%20b/', 'a&b=c/']));
  store.stop();
});

test('a missing container is named, with the command that creates it', async () => {
  const store = await createAzureBlobStore({
    url: azurite.containerUrl('not-there'),
    auth: { kind: 'azurite' },
  });
  const missing = {
    code: 'container-not-found',
    remedy: expect.stringContaining(
      'az storage container create --account-name devstoreaccount1 --name not-there',
    ),
  };
  await expect(store.keepWarm(signal)).rejects.toMatchObject(missing);
  await expect(store.head('x', signal)).rejects.toMatchObject(missing);
  await expect(store.blocks('x', signal)).rejects.toMatchObject(missing);
  await expect(store.stageBlock('x', 'AAAA', Buffer.from('x'), signal)).rejects.toMatchObject(missing);
  await expect(store.remove('x', {}, signal)).rejects.toMatchObject(missing);
  store.stop();
});

test.each(['', '/a', 'a/', 'a//b', '.', 'a/../b', 'a./b', 'end.', 'a\\b', 'a\u0001', 'a\u007f', '\ud800'])(
  'the name %j, which would be stored as another one, is refused',
  async (name) => {
    const store = await createAzureBlobStore({ url: azurite.containerUrl(), auth: { kind: 'azurite' } });
    await expect(store.head(name, signal)).rejects.toMatchObject({ code: 'refused' });
    store.stop();
  },
);
