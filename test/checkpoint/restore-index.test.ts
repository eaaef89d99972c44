import { readFile, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import { indexFileName } from '../../src/checkpoint/file-index.ts';
import { restore } from '../../src/checkpoint/restore.ts';
import { IndexLine } from '../../src/checkpoint/schema.ts';
import { committed, laterClock, never, PLACE, testCheckpointer } from '../support/checkpoints.ts';
import { changeFile, pattern, readTree, testFolder } from '../support/file-tree.ts';
import { countCalls, createMemoryService } from '../support/memory-store.ts';
import type { MemoryService } from '../support/memory-store.ts';

const MIB = 1024 ** 2;
const TIME_S = 1_700_000_000;

/** A set that was checkpointed with one block changed and then changed back, and the index that remembers it. */
async function machine() {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await testFolder());
  const state = stack.use(await testFolder());
  const service = createMemoryService();
  const file = join(folder.path, 'big');
  const write = async (seed: number) => {
    await changeFile(file, Buffer.concat([pattern(4 * MIB, 1), pattern(4 * MIB + 5, seed)]));
    await utimes(file, TIME_S, TIME_S);
  };
  await writeFile(file, '');
  const commit = async () => {
    const checkpointer = testCheckpointer(service.connect(), folder.path, { indexDirectory: state.path });
    await committed(checkpointer);
    await checkpointer.close();
  };
  const indexFile = indexFileName(state.path, PLACE.set);
  const owned = stack.move();
  return {
    service,
    indexFile,
    write,
    commit,
    async indexed() {
      const [header = '', line = ''] = (await readFile(indexFile, 'utf8')).split('\n');
      return { header, ...IndexLine.parse(JSON.parse(line)) };
    },
    tree: () => readTree(folder.path),
    async restore(at?: string) {
      const notes: string[] = [];
      const store = service.connect();
      const result = await restore(
        {
          ...PLACE,
          target: folder.path,
          index: { file: indexFile, bootId: 'boot' },
          ...(at !== undefined && { at }),
        },
        { store, clock: laterClock, onNote: ({ code }) => notes.push(code) },
        never(),
      );
      return { ...result, notes, downloads: countCalls(store, 'download') };
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

test('on a disk that has what the index remembers nothing is fetched, and of what has changed only the blocks', async () => {
  await using vm = await machine();
  await vm.write(2);
  await vm.commit();
  const saved = await vm.tree();
  expect(await vm.restore()).toMatchObject({ filesKept: 1, bytesFetched: 0, notes: [] });

  // The size and the time are what they were: only the content tells.
  await vm.write(3);
  expect(await vm.restore()).toMatchObject({ filesKept: 0, bytesFetched: 4 * MIB + 5, downloads: 1 });
  expect(await vm.tree()).toEqual(saved);
});

test('a checkpoint older than the index is found block by block', async () => {
  await using vm = await machine();
  await vm.write(2);
  await vm.commit();
  const saved = await vm.tree();
  await vm.write(3);
  await vm.commit();
  expect(await vm.restore('00000001')).toMatchObject({ filesKept: 0, bytesFetched: 4 * MIB + 5 });
  expect(await vm.tree()).toEqual(saved);
});

test('an index that can not be read costs nothing but time, and is told', async () => {
  await using vm = await machine();
  await vm.write(2);
  await vm.commit();
  await writeFile(vm.indexFile, 'x');
  expect(await vm.restore()).toMatchObject({ filesKept: 1, notes: ['index-unusable'] });
});

/** Another machine: an empty folder that the newest checkpoint is restored into, and then changed by `meanwhile`. */
async function restoredMachine(service: MemoryService, meanwhile?: (folder: string) => Promise<void>) {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await testFolder());
  const state = stack.use(await testFolder());
  const index = { file: indexFileName(state.path, PLACE.set), bootId: 'boot' };
  const dependencies = { store: service.connect(), clock: systemClock };
  await restore({ ...PLACE, target: folder.path, index }, dependencies, never());
  await meanwhile?.(folder.path);
  const options = { clock: systemClock, indexDirectory: state.path };
  const checkpointer = testCheckpointer(service.connect(), folder.path, options);
  // Until then its index is being written.
  stack.defer(() => checkpointer.close());
  const owned = stack.move();
  return { folder: folder.path, checkpointer, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

test('what was restored needn’t be read by the first checkpoint after it, and of what has changed only the blocks', async () => {
  await using first = await machine();
  await first.write(2);
  await first.commit();
  await using vm = await restoredMachine(first.service);
  expect(await committed(vm.checkpointer)).toMatchObject({ files: 1, bytesSent: 0 });
  expect(vm.checkpointer.activity().get('job')).toMatchObject({ filesRead: 0, bytesRead: 0 });

  await changeFile(`${vm.folder}/big`, Buffer.concat([pattern(4 * MIB, 1), pattern(4 * MIB + 5, 3)]));
  expect(await committed(vm.checkpointer)).toMatchObject({ files: 1, bytesSent: 4 * MIB + 5 });
  // Compared as a whole, and but for the first block read again to be hashed.
  expect(vm.checkpointer.activity().get('job')).toMatchObject({ bytesRead: 3 * (4 * MIB) + 10 });
});

test('what was written right after the restore is seen, also when size and time were made the same', async () => {
  await using first = await machine();
  await first.write(2);
  await first.commit();
  await using vm = await restoredMachine(first.service, async (folder) => {
    await changeFile(`${folder}/big`, Buffer.concat([pattern(4 * MIB, 1), pattern(4 * MIB + 5, 3)]));
    await utimes(`${folder}/big`, TIME_S, TIME_S);
  });
  expect(await committed(vm.checkpointer)).toMatchObject({ bytesSent: 4 * MIB + 5 });
});
