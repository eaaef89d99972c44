import { closeSync, fstatSync, openSync, writeSync } from 'node:fs';
import { readFile, rename, writeFile } from 'node:fs/promises';

import { expect, test } from 'vitest';

import { systemClock } from '../../../src/base/clock.ts';
import type { Workers } from '../../../src/checkpoint/worker/workers.ts';
import { pruneSet } from '../../../src/checkpoint/retention/prune.ts';
import type { BlobStore } from '../../../src/checkpoint/store/store.ts';
import {
  PLACE,
  committed,
  commitJob,
  never,
  restoreJob,
  testCheckpointer,
} from '../../support/checkpoints.ts';
import { pattern, readTree, testFolder, writeTree } from '../../support/file-tree.ts';
import { createMemoryBlobs } from '../../support/memory-blobs.ts';

const MIB = 1024 ** 2;

const prune = (store: BlobStore, keep = 5) =>
  pruneSet({ place: PLACE, keep, dryRun: false }, { store }, never());

/** Goes on writing to the end of a file, until it is disposed. */
function writer(path: string): Disposable {
  const fd = openSync(path, 'r+');
  const { size } = fstatSync(fd);
  let isOver = false;
  let seed = 0;
  const write = () => {
    if (isOver) return closeSync(fd);
    writeSync(fd, pattern(4, seed++), 0, 4, size - 4);
    setImmediate(write);
  };
  setImmediate(write);
  return { [Symbol.dispose]: () => void (isOver = true) };
}

test('what was read of a file that was being written to is sent again once its pack was pruned', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, { a: { kind: 'file', content: pattern(4 * MIB, 1) } });
  const blobs = createMemoryBlobs();
  const store = blobs.connect();
  const checkpointer = testCheckpointer(store, from.path, { clock: systemClock });
  await committed(checkpointer);
  await writeFile(`${from.path}/a`, pattern(4 * MIB, 2));
  {
    using _writer = writer(`${from.path}/a`);
    expect(await commitJob(checkpointer)).toMatchObject({
      kind: 'failed',
      code: 'file-changing',
      id: '00000003',
    });
  }
  expect((await prune(store)).packs).toBeGreaterThan(0);
  const last = await committed(checkpointer);
  const { id } = last;
  await restoreJob(store, to.path, id);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});

test('a file that another one replaces while it is read is one of them, never parts of each', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  const [old, other] = [pattern(40 * MIB, 1), pattern(40 * MIB, 2)];
  await writeTree(from.path, { a: { kind: 'file', content: old }, new: { kind: 'file', content: other } });
  const store = createMemoryBlobs().connect();
  const replaced = Promise.withResolvers<void>();
  let isBegun = false;
  using writers = new DisposableStack();
  const workers = (local: Workers): Workers => ({
    ...local,
    async openSender(thread, options, onPack) {
      const sender = await local.openSender(thread, options, onPack);
      return {
        ...sender,
        async feed(items, seqs, signal) {
          const isOfA = items.some(({ path }) => path === 'a');
          // It is replaced while its first part is read, the second one waits for that, and then it never holds still.
          if (isOfA && items[0]?.from !== 0) await replaced.promise;
          const reading = sender.feed(items, seqs, signal);
          if (isOfA && !isBegun) {
            isBegun = true;
            await rename(`${from.path}/new`, `${from.path}/a`);
            replaced.resolve();
            await reading;
            writers.use(writer(`${from.path}/a`));
          }
          return reading;
        },
      };
    },
  });
  await commitJob(testCheckpointer(store, from.path, { workers }));
  await restoreJob(store, to.path);
  const restored = await readFile(`${to.path}/a`).catch(() => other);
  const isOf = (file: Buffer, at: number) =>
    restored.subarray(at, at + MIB).equals(file.subarray(at, at + MIB));
  for (const file of [old, other]) expect(isOf(file, 0)).toBe(isOf(file, 36 * MIB));
});
