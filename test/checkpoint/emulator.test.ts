import { open } from 'node:fs/promises';
import { zstdDecompressSync } from 'node:zlib';

import { ContainerClient, StorageSharedKeyCredential } from '@azure/storage-blob';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { createAzureBlobStore, type AzureBlobStore } from '../../src/checkpoint/azure-store.ts';
import type { BlobStore } from '../../src/checkpoint/store.ts';
import { AZURITE_ACCOUNT, AZURITE_KEY, startAzurite, type Azurite } from '../support/azurite.ts';
import { committed, commitJob, never, restoreJob, testCheckpointer } from '../support/checkpoints.ts';
import { pattern, readTree, testFolder, writeTree } from '../support/file-tree.ts';

/*
 * The same engine on Azurite: what the store in memory can't prove is that the requests are right.
 * Its speed says nothing about the real service.
 */

const MIB = 1024 ** 2;
let azurite: Azurite;
let stores: AzureBlobStore[] = [];

beforeAll(async () => {
  azurite = await startAzurite();
});
afterAll(async () => {
  for (const store of stores) store.stop();
  stores = [];
  await azurite.stop();
});

async function newStore(url = azurite.containerUrl()): Promise<AzureBlobStore> {
  const store = await createAzureBlobStore({ url, auth: { kind: 'azurite' } });
  await store.ensureContainer(never());
  stores.push(store);
  return store;
}

/** Counts what goes through. */
function counting(store: BlobStore) {
  const calls: string[] = [];
  const sent = { bytes: 0 };
  const note = (operation: string, name: string, bytes = 0) => {
    calls.push(`${operation} ${name}`);
    sent.bytes += bytes;
  };
  const counted: BlobStore = {
    describe: store.describe,
    list(prefix, signal) {
      note('list', prefix);
      return store.list(prefix, signal);
    },
    read(name, options, signal) {
      note('read', name);
      return store.read(name, options, signal);
    },
    download(name, options, signal) {
      note('download', name);
      return store.download(name, options, signal);
    },
    blocks(name, signal) {
      note('blocks', name);
      return store.blocks(name, signal);
    },
    stageBlock(name, id, body, signal) {
      note('stageBlock', name, body.length);
      return store.stageBlock(name, id, body, signal);
    },
    commitBlocks(name, ids, write, signal) {
      note('commitBlocks', name);
      return store.commitBlocks(name, ids, write, signal);
    },
    put(name, body, write, signal) {
      note('put', name, name.includes('/files/') ? body.length : 0);
      return store.put(name, body, write, signal);
    },
    snapshot(name, etag, signal) {
      note('snapshot', name);
      return store.snapshot(name, etag, signal);
    },
    head(name, signal) {
      note('head', name);
      return store.head(name, signal);
    },
    remove(name, options, signal) {
      note('remove', name);
      return store.remove(name, options, signal);
    },
  };
  return { store: counted, calls, sent };
}

test('1,000 small files and one of 256 MiB; then one changed block sends that block only; both restore', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  const big = `${from.path}/model.bin`;
  await writeTree(from.path, {
    'model.bin': { kind: 'file', content: pattern(256 * MIB) },
    ...Object.fromEntries(
      Array.from({ length: 1000 }, (_, i) => [
        `shard-${i % 10}/${i}.json`,
        { kind: 'file', content: `{"i":${i}}` },
      ]),
    ),
  });
  const { store, calls, sent } = counting(await newStore());
  const checkpointer = testCheckpointer(store, from.path);
  const first = await committed(checkpointer);
  expect(first).toMatchObject({ id: '00000001', files: 1001 });
  expect(sent.bytes).toBe(first.bytes);
  const treeBefore = await readTree(from.path);

  calls.length = 0;
  sent.bytes = 0;
  {
    await using handle = await open(big, 'r+');
    await handle.write('one changed place', 100 * MIB);
  }
  expect(await committed(checkpointer)).toMatchObject({ id: '00000002', files: 1001, bytesSent: 4 * MIB });
  expect(sent.bytes).toBe(4 * MIB);
  expect(calls.toSorted((one, other) => one.localeCompare(other))).toEqual([
    'commitBlocks p/vm-1/job/files/model.bin',
    'put p/vm-1/job/checkpoints/00000002.json',
    'put p/vm-1/job/writer.json',
    'snapshot p/vm-1/job/files/model.bin',
    'stageBlock p/vm-1/job/files/model.bin',
  ]);

  await restoreJob(store, to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
  // Back to the older one: of the big file all is checked, and it is fetched since its time differs.
  await restoreJob(store, to.path, '00000001');
  expect(await readTree(to.path)).toEqual(treeBefore);
}, 180_000);

test('odd names, links, empty files and folders go to the service and come back', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, {
    'line\nbreak': { kind: 'file', content: '1' },
    '100%/50%25': { kind: 'file', content: '2' },
    'back\\slash': { kind: 'file', content: '3' },
    'dots./trailing..': { kind: 'file', content: '4' },
    ' blank ': { kind: 'file', content: '5' },
    '\xff\xfe bytes': { kind: 'file', content: '6' },
    '\xc3\xbc a?b#c&d+e': { kind: 'file', content: '7' },
    ['\xe6\x97\xa5'.repeat(85)]: { kind: 'file', content: '8' },
    [`${`${'d'.repeat(250)}/`.repeat(5)}deep`]: { kind: 'file', content: '9' },
    nothing: { kind: 'file', content: '' },
    'folder/empty': { kind: 'folder', mode: 0o700 },
    link: { kind: 'link', target: '../outside' },
  });
  const url = azurite.containerUrl();
  await committed(testCheckpointer(await newStore(url), from.path));
  await restoreJob(await newStore(url), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
  // Another process, with nothing but what the service lists, finds all of it there.
  expect(await committed(testCheckpointer(await newStore(url), from.path))).toMatchObject({ bytesSent: 0 });
});

test('staged by one process, committed by the next, without sending a block twice', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, {
    big: { kind: 'file', content: pattern(20 * MIB) },
    small: { kind: 'file', content: 'small, staged, and then written whole' },
  });
  const url = azurite.containerUrl();
  await testCheckpointer(await newStore(url), from.path).stage('job', never());
  const { store, calls } = counting(await newStore(url));
  await committed(testCheckpointer(store, from.path));
  expect(calls.filter((call) => call.startsWith('stageBlock') && call.endsWith('/big'))).toEqual([]);
  await restoreJob(store, to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});

test('two writers of one key give one clear conflict', async () => {
  await using one = await testFolder();
  await using other = await testFolder();
  await writeTree(one.path, { state: { kind: 'file', content: 'one' } });
  await writeTree(other.path, { state: { kind: 'file', content: 'other' } });
  const url = azurite.containerUrl();
  const first = testCheckpointer(await newStore(url), one.path, { vmName: 'fleet_1' });
  const second = testCheckpointer(await newStore(url), other.path, { vmName: 'fleet_2' });
  await Promise.all([first.stage('job', never()), second.stage('job', never())]);
  await committed(first);
  const result = await commitJob(second);
  expect(result).toMatchObject({ kind: 'failed', code: 'conflict', retryable: false });
  expect(result.kind === 'failed' && result.detail).toContain('fleet_1');
  expect(await committed(first)).toMatchObject({ id: '00000002' });
});

test('a commit that is cut off by its deadline leaves what was sent for the next one', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, { big: { kind: 'file', content: pattern(64 * MIB) } });
  const url = azurite.containerUrl();
  const base = counting(await newStore(url));
  const deadline = new AbortController();
  let arrived = 0;
  const store: BlobStore = {
    ...base.store,
    async stageBlock(...call) {
      await base.store.stageBlock(...call);
      if (++arrived >= 4) deadline.abort();
    },
  };
  const checkpointer = testCheckpointer(store, from.path);
  expect(await commitJob(checkpointer, deadline.signal)).toMatchObject({ kind: 'failed', retryable: true });
  await checkpointer.close();
  const next = counting(await newStore(url));
  await committed(testCheckpointer(next.store, from.path));
  const staged = next.calls.filter((call) => call.startsWith('stageBlock')).length;
  expect(staged).toBeGreaterThan(0);
  expect(staged).toBeLessThanOrEqual(12);
  await restoreJob(next.store, to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});

test('a compressed set comes back, and its blobs say how they are stored', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  const content = Buffer.from('{"loss":0.5,"step":"unknown"}\n'.repeat(300_000));
  await writeTree(from.path, { big: { kind: 'file', content }, small: { kind: 'file', content: 'small' } });
  const url = azurite.containerUrl();
  const store = await newStore(url);
  const checkpointer = testCheckpointer(store, from.path, { set: { compress: 'zstd' } });
  expect(await committed(checkpointer)).toMatchObject({ files: 2 });
  await restoreJob(store, to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
  const container = new ContainerClient(url, new StorageSharedKeyCredential(AZURITE_ACCOUNT, AZURITE_KEY));
  for (const [name, whole] of [
    ['big', content],
    ['small', Buffer.from('small')],
  ] as const) {
    const blob = container.getBlockBlobClient(`p/vm-1/job/files/${name}`);
    expect(await blob.getProperties()).toMatchObject({ contentEncoding: 'zstd' });
    expect(zstdDecompressSync(await blob.downloadToBuffer()).equals(whole)).toBe(true);
  }
});
