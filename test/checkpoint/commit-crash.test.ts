import { rm, writeFile } from 'node:fs/promises';

import { describe, expect, test } from 'vitest';

import { committed, commitJob, restoreJob, testCheckpointer } from '../support/checkpoints.ts';
import { changeFile, readTree, testFolder, writeTree } from '../support/file-tree.ts';
import { dieAt } from '../support/dying-client.ts';
import { createMemoryService, storeError } from '../support/memory-store.ts';

const MIB = 1024 ** 2;

/** A set with a file of several blocks, small ones, an empty one; then each kind of change to it. */
async function firstTree(path: string): Promise<void> {
  await writeTree(path, {
    'big.bin': { kind: 'file', content: blocks('a', 'b') },
    'small/one': { kind: 'file', content: 'one' },
    'small/two': { kind: 'file', content: 'two' },
    grows: { kind: 'file', content: 'short' },
    empty: { kind: 'file', content: '' },
    link: { kind: 'link', target: 'big.bin' },
  });
}

async function changeTree(path: string): Promise<void> {
  await changeFile(`${path}/big.bin`, blocks('a', 'X'));
  await changeFile(`${path}/small/one`, 'ONE');
  await changeFile(`${path}/grows`, blocks('g', 'h'));
  await rm(`${path}/small/two`);
  await writeFile(`${path}/new`, 'new');
}

function blocks(...letters: string[]): Buffer {
  const [last = '', ...others] = letters.toReversed();
  return Buffer.concat([
    ...others.toReversed().map((letter) => Buffer.alloc(4 * MIB, letter)),
    Buffer.from(last),
  ]);
}

describe.each(['before', 'after'] as const)(
  'a process that dies %s any of its calls to the store',
  (when) => {
    test('leaves the checkpoint before it whole, and the next process completes without conflict', async () => {
      await using from = await testFolder();
      await firstTree(from.path);
      let survived = false;
      let runs = 0;
      for (let callNumber = 1; !survived; callNumber++) {
        runs++;
        await rm(from.path, { recursive: true });
        await firstTree(from.path);
        const service = createMemoryService();
        await committed(testCheckpointer(service.connect(), from.path));
        const treeBefore = await readTree(from.path);
        await changeTree(from.path);
        const treeAfter = await readTree(from.path);
        const result = await commitJob(testCheckpointer(service.connect(dieAt(callNumber, when)), from.path));
        survived = result.kind === 'committed';

        await using found = await testFolder();
        const { id } = await restoreJob(service.connect(), found.path);
        // The manifest is what makes a checkpoint: when it was written and only the answer got lost, it is there.
        expect(await readTree(found.path)).toEqual(id === '00000001' ? treeBefore : treeAfter);
        await using old = await testFolder();
        await restoreJob(service.connect(), old.path, '00000001');
        expect(await readTree(old.path)).toEqual(treeBefore);

        const next = await committed(testCheckpointer(service.connect(), from.path));
        expect(Number(next.id)).toBe(Number(id) + 1);
        await using to = await testFolder();
        await restoreJob(service.connect(), to.path);
        expect(await readTree(to.path)).toEqual(treeAfter);
      }
      // Base: 5 calls; claim; asking, staging, committing, snapshots; manifest.
      expect(runs).toBeGreaterThan(15);
    }, 120_000);

    test('costs the next process no block that was sent already', async () => {
      await using from = await testFolder();
      await writeTree(from.path, { big: { kind: 'file', content: blocks('a', 'b', 'c', 'd', 'e') } });
      for (let callNumber = 1; ; callNumber++) {
        const service = createMemoryService();
        const first = service.connect(dieAt(callNumber, when));
        const result = await commitJob(testCheckpointer(first, from.path));
        const second = service.connect();
        await committed(testCheckpointer(second, from.path));
        const arrived = (await second.blocks('p/vm-1/job/files/big', new AbortController().signal))?.committed
          .length;
        expect(arrived).toBe(5);
        const sent = second.calls.filter(({ operation }) => operation === 'stageBlock').length;
        const calls = first.calls.slice(0, when === 'before' ? callNumber - 1 : callNumber);
        expect(sent).toBeLessThanOrEqual(
          5 - calls.filter(({ operation }) => operation === 'stageBlock').length + 4,
        );
        const committedBefore = calls.some(({ operation }) => operation === 'commitBlocks');
        if (committedBefore) expect(sent).toBe(0);
        if (result.kind === 'committed') return;
      }
    }, 60_000);
  },
);

test('a blob left newer than the newest manifest is brought back in line, also when its file went back', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { a: { kind: 'file', content: 'old' } });
  const service = createMemoryService();
  await committed(testCheckpointer(service.connect(), from.path));
  await changeFile(`${from.path}/a`, 'new');
  const dying = service.connect({
    before(call) {
      if (call.operation === 'snapshot') throw storeError('network', 'the process is dead');
    },
  });
  expect(await commitJob(testCheckpointer(dying, from.path))).toMatchObject({ kind: 'failed' });
  await changeFile(`${from.path}/a`, 'old');
  const store = service.connect();
  await committed(testCheckpointer(store, from.path));
  const { signal } = new AbortController();
  expect(Buffer.from(await store.read('p/vm-1/job/files/a', { bytesMax: 10 }, signal)).toString()).toBe(
    'old',
  );
});

describe('an answer that gets lost, although the service did what was asked', () => {
  test.each(['put', 'commitBlocks', 'snapshot'] as const)(
    'of %s is no conflict with ourselves at the next attempt of the same process',
    async (operation) => {
      await using from = await testFolder();
      await using to = await testFolder();
      await firstTree(from.path);
      const service = createMemoryService();
      let lost = 0;
      const store = service.connect({
        after(call) {
          if (call.operation !== operation || lost >= 6) return;
          lost++;
          throw new Error('connection reset');
        },
      });
      const checkpointer = testCheckpointer(store, from.path);
      const results = [];
      do results.push(await commitJob(checkpointer));
      while (results.at(-1)?.kind === 'failed' && results.length < 10);
      expect(results.at(-1)).toMatchObject({ kind: 'committed' });
      expect(lost).toBeGreaterThan(0);
      await restoreJob(service.connect(), to.path);
      expect(await readTree(to.path)).toEqual(await readTree(from.path));
    },
  );
});
