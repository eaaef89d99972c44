import { rm, writeFile } from 'node:fs/promises';

import { describe, expect, test } from 'vitest';

import { committed, commitJob, restoreJob, testCheckpointer } from '../../support/checkpoints.ts';
import { changeFile, pattern, readTree, testFolder, writeTree } from '../../support/file-tree.ts';
import { createMemoryBlobs, storeError } from '../../support/memory-blobs.ts';
import { MIB, dieAt, packBytes, packNames } from './rig.ts';

/** A set with a file of several chunks, small ones, an empty one; then each kind of change to it. */
async function firstTree(path: string): Promise<void> {
  await writeTree(path, {
    'big.bin': { kind: 'file', content: pattern(2 * MIB + 5) },
    'small/one': { kind: 'file', content: 'one' },
    'small/two': { kind: 'file', content: 'two' },
    grows: { kind: 'file', content: 'short' },
    empty: { kind: 'file', content: '' },
    link: { kind: 'link', target: 'big.bin' },
  });
}

async function changeTree(path: string): Promise<void> {
  const big = pattern(2 * MIB + 5);
  big.write('changed', MIB);
  await changeFile(`${path}/big.bin`, big);
  await changeFile(`${path}/small/one`, 'ONE');
  await changeFile(`${path}/grows`, pattern(MIB, 3));
  await rm(`${path}/small/two`);
  await writeFile(`${path}/new`, 'new');
}

describe.each(['before', 'after'] as const)(
  'a process that dies %s any of its calls to the store',
  (when) => {
    test.each(['the index of the dead one', 'nothing'])(
      'leaves the checkpoint before it whole, and the next one, with %s, completes without conflict',
      async (what) => {
        await using from = await testFolder();
        let isOver = false;
        let runs = 0;
        for (let callNumber = 1; !isOver; callNumber++) {
          runs++;
          await using state = await testFolder();
          const options = what === 'nothing' ? {} : { indexDirectory: state.path };
          await rm(from.path, { recursive: true });
          await firstTree(from.path);
          const blobs = createMemoryBlobs();
          const first = testCheckpointer(blobs.connect(), from.path, options);
          await committed(first);
          await first.close();
          const treeBefore = await readTree(from.path);
          await changeTree(from.path);
          const treeAfter = await readTree(from.path);
          const dying = testCheckpointer(blobs.connect(dieAt(callNumber, when)), from.path, options);
          isOver = (await commitJob(dying)).kind === 'committed';
          await dying.close();

          await using found = await testFolder();
          const { id } = await restoreJob(blobs.connect(), found.path);
          // The manifest is what makes a checkpoint: when it was written and only the answer got lost, it is there.
          expect(await readTree(found.path)).toEqual(id === '00000002' ? treeBefore : treeAfter);
          await using old = await testFolder();
          await restoreJob(blobs.connect(), old.path, '00000002');
          expect(await readTree(old.path)).toEqual(treeBefore);

          const next = testCheckpointer(blobs.connect(), from.path, options);
          const { id: nextId } = await committed(next);
          await next.close();
          expect(nextId >= id).toBe(true);
          await using to = await testFolder();
          await restoreJob(blobs.connect(), to.path);
          expect(await readTree(to.path)).toEqual(treeAfter);
        }
        // Entries and packs are listed, packs, then a manifest; without an index the old tree is read, and a takeover written.
        expect(runs).toBeGreaterThan(what === 'nothing' ? 10 : 6);
      },
    );

    test('costs the next process of that boot little of what was stored already', async () => {
      await using from = await testFolder();
      await using state = await testFolder();
      const bytes = 120 * MIB;
      await writeTree(from.path, { big: { kind: 'file', content: pattern(bytes) } });
      const options = { indexDirectory: state.path };
      const blobs = createMemoryBlobs();
      const dying = testCheckpointer(blobs.connect(dieAt(16, when)), from.path, options);
      await commitJob(dying);
      await dying.close();
      const stored = packNames(blobs).reduce((sum, name) => sum + (blobs.content(name)?.length ?? 0), 0);
      expect(stored).toBeGreaterThan(70 * MIB);
      const store = blobs.connect();
      const next = testCheckpointer(store, from.path, options);
      await committed(next);
      await next.close();
      // Of what was being read just then nobody knows where it is.
      expect(packBytes(store)).toBeLessThan(bytes - stored + 65 * MIB);
    });
  },
);

describe('an answer that gets lost, although the service did what was asked', () => {
  test.each(['format.json', '/checkpoints/00000001', '/packs/', '/checkpoints/00000002', '/checkpoints/'])(
    'of %s is no conflict with ourselves, neither at the next attempt nor for the next process',
    async (what) => {
      for (const isRestarted of [false, true]) {
        await using from = await testFolder();
        await using to = await testFolder();
        await using state = await testFolder();
        await firstTree(from.path);
        const blobs = createMemoryBlobs();
        let lost = 0;
        const hooks = {
          after({ operation, name }: { readonly operation: string; readonly name: string }) {
            if (operation !== 'create' || !name.includes(what) || lost >= 3) return;
            lost++;
            throw storeError('network', 'connection reset');
          },
        };
        const start = () => testCheckpointer(blobs.connect(hooks), from.path, { indexDirectory: state.path });
        let checkpointer = start();
        const results = [];
        do {
          results.push(await commitJob(checkpointer));
          if (!isRestarted) continue;
          await checkpointer.close();
          checkpointer = start();
        } while (results.at(-1)?.kind === 'failed' && results.length < 10);
        expect(results.at(-1)).toMatchObject({ kind: 'committed' });
        expect(results.map((one) => (one.kind === 'failed' ? one.code : 'committed'))).not.toContain(
          'conflict',
        );
        expect(lost).toBeGreaterThan(0);
        await checkpointer.close();
        await restoreJob(blobs.connect(), to.path);
        expect(await readTree(to.path)).toEqual(await readTree(from.path));
      }
    },
  );
});
