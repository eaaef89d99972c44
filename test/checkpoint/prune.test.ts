import { rm } from 'node:fs/promises';

import { expect, test } from 'vitest';

import { listManifests, readManifest } from '../../src/checkpoint/manifest.ts';
import { pruneSet } from '../../src/checkpoint/prune.ts';
import type { BlobStore } from '../../src/checkpoint/store.ts';
import { committed, never, PLACE, restoreJob, testCheckpointer } from '../support/checkpoints.ts';
import { changeFile, pattern, readTree, testFolder, writeTree } from '../support/file-tree.ts';
import { dieAt } from '../support/dying-client.ts';
import { createMemoryService, type ClientHooks, type MemoryService } from '../support/memory-store.ts';

const MIB = 1024 ** 2;
const PREFIX = 'p/vm-1/job/';

async function prune(
  store: BlobStore,
  keep: number,
  more: { dryRun?: boolean; sweep?: boolean; stop?: () => boolean } = {},
) {
  return pruneSet({ ...PLACE, keep, dryRun: false, ...more }, { store }, never());
}

async function ids(service: MemoryService): Promise<string[]> {
  return (await listManifests(service.connect(), PLACE, never())).map(({ id }) => id);
}

/** Every checkpoint that exists has all that it names, and the newest is restored as the folder is. */
async function expectWhole(service: MemoryService, path: string): Promise<void> {
  const store = service.connect();
  for (const id of await ids(service)) {
    for (const { blob, snapshot, size } of (await readManifest(store, PLACE, id, never())).files) {
      const content = await store.read(PREFIX + blob, { snapshot, bytesMax: size }, never());
      expect(content.length).toBe(size);
    }
  }
  await using to = await testFolder();
  await restoreJob(store, to.path);
  expect(await readTree(to.path)).toEqual(await readTree(path));
}

/** Five checkpoints: a file that stays, one that changes, one that goes after the second. */
async function fiveCheckpoints(path: string, hooks: ClientHooks = {}) {
  await writeTree(path, {
    stays: { kind: 'file', content: pattern(5 * MIB) },
    changes: { kind: 'file', content: '1' },
    goes: { kind: 'file', content: pattern(5 * MIB, 7) },
  });
  const service = createMemoryService();
  const checkpointer = testCheckpointer(service.connect(hooks), path);
  await committed(checkpointer);
  for (let round = 2; round <= 5; round++) {
    await changeFile(`${path}/changes`, `${round}`);
    if (round === 3) await rm(`${path}/goes`);
    await committed(checkpointer);
  }
  return { service, checkpointer };
}

async function snapshotsOf(service: MemoryService): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, snapshot } of service.connect().list(PREFIX, never(), { snapshots: true })) {
    if (snapshot !== undefined) found.push(name.slice(PREFIX.length));
  }
  return found;
}

test('the newest stay, and what only older ones needed goes: manifests, snapshots, and blobs of files that are gone', async () => {
  await using from = await testFolder();
  const { service } = await fiveCheckpoints(from.path);
  const before = service.names();
  const planned = await prune(service.connect(), 2, { dryRun: true });
  expect(planned).toEqual({
    set: 'job',
    removed: ['00000001', '00000002', '00000003'],
    snapshots: 3,
    blobs: 1,
  });
  expect(service.names()).toEqual(before);
  expect(await prune(service.connect(), 2)).toEqual(planned);
  expect(await ids(service)).toEqual(['00000004', '00000005']);
  expect(await snapshotsOf(service)).toEqual(['files/changes', 'files/changes', 'files/stays']);
  expect(service.names().toSorted()).toEqual(
    [
      'checkpoints/00000004.json',
      'checkpoints/00000005.json',
      'files/changes',
      'files/stays',
      'hash-key.json',
      'writer.json',
    ].map((name) => PREFIX + name),
  );
  await expectWhole(service, from.path);
  expect(await prune(service.connect(), 2)).toMatchObject({ removed: [], snapshots: 0, blobs: 0 });
});

test.each(['before', 'after'] as const)(
  'a process that dies %s any of its calls harms no checkpoint',
  async (when) => {
    await using from = await testFolder();
    for (let call = 1; ; call++) {
      const { service } = await fiveCheckpoints(from.path);
      const store = service.connect(dieAt(call, when));
      const died = await prune(store, 2).then(
        () => false,
        () => true,
      );
      await expectWhole(service, from.path);
      await prune(service.connect(), 2, { sweep: true });
      expect(await ids(service)).toEqual(['00000004', '00000005']);
      expect(service.names()).toHaveLength(6);
      await expectWhole(service, from.path);
      if (!died) return;
      expect(call).toBeLessThan(30);
    }
  },
  60_000,
);

test('a checkpoint taken between any two calls of it keeps all that it names, also a file that came back', async () => {
  await using from = await testFolder();
  for (let call = 1; ; call++) {
    const { service, checkpointer } = await fiveCheckpoints(from.path);
    let isDone = false;
    const store = service.connect({
      async before(_call, number) {
        if (number !== call) return;
        isDone = true;
        // As it was: neither its content nor its blocks have to be sent, which is what makes it delicate.
        await writeTree(from.path, { goes: { kind: 'file', content: pattern(5 * MIB, 7) } });
        await changeFile(`${from.path}/changes`, '6');
        await committed(checkpointer);
      },
    });
    await prune(store, 2, { sweep: true });
    if (!isDone) return;
    expect(await ids(service)).toContain('00000006');
    await expectWhole(service, from.path);
    expect(call).toBeLessThan(30);
  }
});

test('a pruning between any two calls of a commit costs that commit nothing, also a file that came back', async () => {
  await using from = await testFolder();
  for (let call = 1; ; call++) {
    let armedAt = Infinity;
    let made = 0;
    let isDone = false;
    const { service, checkpointer } = await fiveCheckpoints(from.path, {
      async before(_call, number) {
        if (number !== armedAt) return;
        isDone = true;
        await prune(service.connect(), 1, { sweep: true });
      },
      after(_call, number) {
        if (armedAt === Infinity) made = number;
      },
    });
    armedAt = made + call;
    await writeTree(from.path, { goes: { kind: 'file', content: pattern(5 * MIB, 7) } });
    await changeFile(`${from.path}/changes`, '6');
    await committed(checkpointer);
    await expectWhole(service, from.path);
    if (!isDone) return;
    expect(call).toBeLessThan(40);
  }
});

test('nothing goes while a checkpoint that stays can not be read', async () => {
  await using from = await testFolder();
  const { service } = await fiveCheckpoints(from.path);
  service.corrupt(`${PREFIX}checkpoints/00000005.json`, () => Buffer.from('{'));
  await expect(prune(service.connect(), 2)).rejects.toMatchObject({ code: 'prune-blocked' });
  expect(await ids(service)).toHaveLength(5);
});

test('an old checkpoint that can not be read goes like the others', async () => {
  await using from = await testFolder();
  const { service } = await fiveCheckpoints(from.path);
  service.corrupt(`${PREFIX}checkpoints/00000002.json`, () => Buffer.from('{'));
  await prune(service.connect(), 2);
  expect(await ids(service)).toEqual(['00000004', '00000005']);
  await expectWhole(service, from.path);
});

test('a drain that begins stops it between two checkpoints', async () => {
  await using from = await testFolder();
  const { service } = await fiveCheckpoints(from.path);
  let isDraining = false;
  const store = service.connect({
    after({ operation, name }) {
      if (operation === 'remove' && name.endsWith('00000001.json')) isDraining = true;
    },
  });
  expect(await prune(store, 2, { stop: () => isDraining })).toMatchObject({ removed: ['00000001'] });
  await expectWhole(service, from.path);
});
