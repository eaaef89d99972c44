import { mkdir, open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterAll, beforeAll, expect, test } from 'vitest';

import { systemClock } from '../../../src/base/clock.ts';
import { isStored } from '../../../src/checkpoint/format/chunk.ts';
import type { PackEvent } from '../../../src/checkpoint/pack/sender.ts';
import { unpack } from '../../../src/checkpoint/scan/scan-thread.ts';
import type { LookResult } from '../../../src/checkpoint/scan/scan-job.ts';
import { createWorkers } from '../../../src/checkpoint/worker/create-workers.ts';
import { createLocalWorkers } from '../../support/local-workers.ts';
import type { Workers } from '../../../src/checkpoint/worker/workers.ts';
import { startAzurite } from '../../support/azurite.ts';
import type { Azurite } from '../../support/azurite.ts';
import { testFolder } from '../../support/file-tree.ts';
import { createMemoryBlobs } from '../../support/memory-blobs.ts';
import {
  CUT,
  HASH,
  never,
  noise,
  openRoot,
  PREFIX,
  readOf,
  senderOptions,
  whole,
  withNumbers,
} from '../pack/pack-rig.ts';

const TYPE = { contentType: 'text/plain' };

let azurite: Azurite;
beforeAll(async () => {
  azurite = await startAzurite();
});
afterAll(() => azurite.stop());

const kinds: Readonly<Record<string, () => Workers>> = {
  threads: () =>
    createWorkers({ url: azurite.containerUrl(), auth: { kind: 'azurite' } }, { clock: systemClock }),
  'this thread': () => createLocalWorkers({ store: createMemoryBlobs().connect(), clock: systemClock }),
};

test.for(Object.keys(kinds))('files come back by way of %s as they were', async (kind) => {
  const workers =
    kinds[kind]?.() ?? createLocalWorkers({ store: createMemoryBlobs().connect(), clock: systemClock });
  await using folder = await testFolder();
  await using root = await openRoot(folder.path);
  workers.start();
  await workers.store.ensureContainer(never);
  const contents = [noise(10), noise(3 * CUT.packBytes, 2), noise(5 * 1024 ** 2, 3)];
  for (const [index, content] of contents.entries()) await writeFile(join(folder.path, `f${index}`), content);
  const found = Buffer.alloc(contents.reduce((sum, content) => sum + content.length, 0));
  await using target = await open(join(folder.path, 'target'), 'w+');

  let position = 0;
  for (const [index, content] of contents.entries()) {
    const events: PackEvent[] = [];
    const options = senderOptions(root.location, { process: `0000000${index}` });
    const opened = await workers.openSender(index, options, (event) => void events.push(event));
    await using sending = withNumbers(opened, options);
    const [result] = await sending.feed([whole(`f${index}`, content.length)]);
    const pieces = await sending.sender.putPieces([Buffer.from('some piece')], [9999], never);
    await sending.sender.flush(never);
    const stored = events.flatMap(({ kind: event, name }) => (event === 'stored' ? name : []));
    expect(new Set(stored)).toEqual(new Set([...readOf(result).packs, ...pieces.map(({ pack }) => pack)]));
    for (const chunk of readOf(result).chunks.filter(isStored)) {
      const order = { pack: PREFIX + chunk.pack, offset: chunk.offset, bytes: chunk.stored, hash: HASH };
      const placed = { chunk, fd: target.fd, position };
      expect(await workers.fetch({ ...order, chunks: [placed] }, never)).toEqual({ wrong: [] });
      const parts = [{ ...placed }, { ...placed, position: position + 1 }];
      expect(await workers.compare({ hash: HASH, parts }, never)).toEqual({ wrong: [1] });
      position += chunk.plain;
    }
  }
  await target.read(found, 0, found.length, 0);
  expect(found.equals(Buffer.concat(contents))).toBe(true);
  workers.rest();
  await workers.close();
});

test.for(Object.keys(kinds))('the store is there by way of %s', async (kind) => {
  const workers =
    kinds[kind]?.() ?? createLocalWorkers({ store: createMemoryBlobs().connect(), clock: systemClock });
  const { store } = workers;
  expect(store.describe).toContain('container');
  await store.ensureContainer(never);
  // Part of larger memory, of which nothing else goes out.
  const body = Buffer.from('some content').subarray(5);
  expect(await store.create('a/b', body, TYPE, never)).toMatchObject({ outcome: 'created' });
  expect(await store.create('a/b', body, TYPE, never)).toMatchObject({ outcome: 'taken' });
  expect(body.toString()).toBe('content');
  await store.replace('a/c', Buffer.from('other'), TYPE, never);
  const { items, serverMs } = await store.list('a/', {}, never);
  expect(items).toMatchObject([
    { name: 'a/b', bytes: 7 },
    { name: 'a/c', bytes: 5 },
  ]);
  expect(serverMs).toBeGreaterThan(0);
  expect(await store.folders('', {}, never)).toMatchObject({ names: ['a/'] });
  expect(Buffer.from(await store.read('a/b', { bytesMax: 100 }, never)).toString()).toBe('content');
  expect(await store.remove('a/b', never)).toMatchObject({ outcome: 'removed' });
  await expect(store.read('a/b', { bytesMax: 100 }, never)).rejects.toMatchObject({ code: 'not-found' });
  await workers.close();
  // It starts anew when it is asked again.
  expect(await store.list('a/', {}, never)).toMatchObject({ items: [{ name: 'a/c' }] });
  await workers.close();
});

test.for([10, 1000])('of %i files each is listed and looked at', async (count) => {
  const workers = kinds['threads']?.();
  if (workers === undefined) throw new Error('there are threads');
  await using folder = await testFolder();
  await using root = await openRoot(folder.path);
  await mkdir(join(folder.path, 'a'));
  const paths = Array.from({ length: count }, (_, index) => `a/f${index}`);
  for (const path of paths) await writeFile(join(folder.path, path), path);
  const listed = await workers.list({ root: root.location, folders: ['', 'a', 'none'] }, never);
  expect(listed).toMatchObject({ kind: 'listed', names: ['a', expect.any(String), { errno: 'gone' }] });
  const looked = await workers.look({ root: root.location, paths: [...paths, 'none'] }, never);
  const { stats, failures } = looked as LookResult; // Nothing is wrong with the folder.
  expect(paths.map((_, index) => unpack(stats, index)?.size)).toEqual(paths.map((path) => path.length));
  expect([...failures]).toMatchObject([[count, { errno: 'gone' }]]);
  expect(await readFile(join(folder.path, 'a/f1'), 'utf8')).toBe('a/f1');
  await workers.close();
});
