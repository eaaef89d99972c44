import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';

import { afterAll, beforeAll, expect, test } from 'vitest';

import { type AzureStoreOptions, createAzureBlobStore } from '../../src/checkpoint/azure-store.ts';
import { createDrillStore } from '../../src/checkpoint/drill-store.ts';
import { createZstdStore } from '../../src/checkpoint/zstd-store.ts';
import { startSink } from '../bench/sink.ts';
import { calmStore } from '../simulation/calm-store.ts';
import { type Azurite, signatureFor, startAzurite } from '../support/azurite.ts';
import { reader } from '../support/checkpoints.ts';
import { type TestFolder, testFolder } from '../support/file-tree.ts';
import { createMemoryService } from '../support/memory-store.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { describeBlobStore } from './store-contract.ts';
import { type StoreUnderTest, WRITE_NEW, fresh, signal } from './store-subject.ts';

let azurite: Azurite;
let folder: TestFolder;

beforeAll(async () => {
  folder = await testFolder();
  azurite = await startAzurite({ oauth: true });
  const store = await createAzureBlobStore(onAzurite({ kind: 'azurite' }));
  await store.ensureContainer(signal);
  store.stop();
});
afterAll(async () => {
  await azurite.stop();
  await folder[Symbol.asyncDispose]();
});

const onAzurite = (auth: AzureStoreOptions['auth']): AzureStoreOptions => ({
  url: azurite.containerUrl('contract'),
  auth,
  ...(azurite.ca !== undefined && { ca: azurite.ca }),
});

async function opened(options: AzureStoreOptions): Promise<StoreUnderTest> {
  const store = await createAzureBlobStore(options);
  return { store, close: async () => store.stop() };
}

async function secret(text: string): Promise<string> {
  const file = join(folder.path, 'secret');
  await writeFile(file, text, { mode: 0o600 });
  return file;
}

describeBlobStore('in memory', async () => ({
  store: createMemoryService().connect({ snapshotsAtOnce: true }),
}));

describeBlobStore('in the simulated world', async () => calmStore());

describeBlobStore(
  'Azurite, shared access signature',
  async () => opened(onAzurite({ kind: 'sas', file: await secret(signatureFor('contract', 'rwdlc')) })),
  'Azurite',
  'Azurite with a signature',
);

describeBlobStore(
  'Azurite, managed identity',
  async () => {
    const imds = await startTestImds();
    const options = { ...onAzurite({ kind: 'managed-identity' }), identityEndpoint: imds.url };
    const { store, close } = await opened(options);
    return { store, close: async () => Promise.all([close?.(), imds.close()]) };
  },
  'Azurite',
);

describeBlobStore('the sink of the benchmarks', async () => {
  const sink = await startSink(folder.path, { keep: true });
  const ca = await readFile(sink.caFile, 'utf8');
  const { store, close } = await opened({
    url: sink.url,
    auth: { kind: 'sas', file: sink.signatureFile },
    ca,
  });
  return { store, close: async () => Promise.all([close?.(), sink[Symbol.asyncDispose]()]) };
});

describeBlobStore(
  'compressed, in memory',
  async () => {
    const store = createMemoryService().connect();
    const decode = (stored: Uint8Array) => (stored.length === 0 ? stored : zstdDecompressSync(stored));
    return { store: createZstdStore({ prefix: '' }, { store, reader, onSaved: () => undefined }), decode };
  },
  'zstd',
);

describeBlobStore(
  'of a rehearsal, in memory',
  async () => ({
    store: createDrillStore(
      { prefix: '', key: 'contract' },
      { store: createMemoryService().connect({ snapshotsAtOnce: true }) },
    ),
  }),
  'rehearsal',
);

test('a snapshot comes with a write that succeeds, unless a key would have to sign for it', async () => {
  const signature = await secret(signatureFor('contract', 'rwdlc'));
  const { store, close } = await opened(onAzurite({ kind: 'sas', file: signature }));
  const byKey = await opened(onAzurite({ kind: 'azurite' }));
  const write = { ...WRITE_NEW, snapshot: true };
  const content = Buffer.alloc(20_000, 'x');
  const name = fresh('at-once');
  expect(await store.put(name, content, write, signal)).toHaveProperty('snapshot');
  await expect(store.put(name, content, write, signal)).rejects.toMatchObject({ code: 'conflict' });
  expect(await byKey.store.put(fresh('by-key'), content, write, signal)).not.toHaveProperty('snapshot');
  const snapshots = [];
  for await (const item of store.list(name, signal, { snapshots: true }))
    if (item.snapshot !== undefined) snapshots.push(item.snapshot);
  expect(snapshots).toHaveLength(1);
  await Promise.all([close?.(), byKey.close?.()]);
});
