import { afterAll, beforeAll, expect, test } from 'vitest';

import { createAzureBlobStore } from '../../src/checkpoint/azure-store.ts';
import { startAzurite, type Azurite } from '../support/azurite.ts';
import { describeBlobStore } from './store-contract.ts';

let azurite: Azurite;
const { signal } = new AbortController();

beforeAll(async () => {
  azurite = await startAzurite();
});
afterAll(() => azurite.stop());

describeBlobStore('Azure Blob on Azurite', async () => {
  const store = await createAzureBlobStore({ url: azurite.containerUrl(), auth: { kind: 'azurite' } });
  await store.ensureContainer(signal);
  return { store, close: async () => store.stop() };
});

test('in the emulator the container is created, and it may exist', async () => {
  const store = await createAzureBlobStore({ url: azurite.containerUrl(), auth: { kind: 'azurite' } });
  await store.ensureContainer(signal);
  await expect(store.ensureContainer(signal)).resolves.toBeUndefined();
  await expect(store.keepWarm(signal)).resolves.toBeUndefined();
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

test('metadata that would not come back as it is, is refused', async () => {
  const store = await createAzureBlobStore({ url: azurite.containerUrl(), auth: { kind: 'azurite' } });
  for (const metadata of [
    { 'a-b': 'x' },
    { Upper: 'x' },
    { a: 'ü' },
    { a: ' x' },
    { a: '' },
    { a: 'x\ny' },
  ]) {
    const write = { condition: { ifNone: true }, metadata, contentType: 'text/plain' } as const;
    await expect(store.put('m', Buffer.from('x'), write, signal)).rejects.toMatchObject({ code: 'refused' });
  }
  store.stop();
});
