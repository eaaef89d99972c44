import { chmod, mkdir, rm, symlink, utimes, writeFile } from 'node:fs/promises';

import fc from 'fast-check';
import { expect, test } from 'vitest';

import { committed, restoreJob, testCheckpointer } from '../support/checkpoints.ts';
import { readTree, testFolder, writeTree } from '../support/file-tree.ts';
import { createMemoryService } from '../support/memory-store.ts';

const ODD_NAMES = [
  'line\nbreak',
  '100%',
  '%41',
  'back\\slash',
  'trailing.',
  '...',
  ' blank ',
  '-rf',
  '"quoted"',
  'a?b#c&d',
  '.hidden',
  // Bytes in latin1: UTF-8 in two forms of ü, and what is no UTF-8 at all.
  '\xc3\xbc',
  'u\xcc\x88',
  '\xff\xfe',
  '\xf0\x9f\x99\x82',
  '\x01\x7f',
  'x'.repeat(255),
  '\xff'.repeat(255),
];

test('all names that Linux allows come back, as files, folders and links', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  for (const name of ODD_NAMES) {
    await writeTree(from.path, {
      [name]: { kind: 'file', content: `content of ${name}`, mode: 0o604, mtimeS: 1_234_567_890.123456 },
    });
    const folder = Buffer.from(`${from.path}/folders/${name}`, 'latin1');
    await mkdir(folder, { recursive: true });
    await symlink(Buffer.from(name, 'latin1'), Buffer.concat([folder, Buffer.from('/link')]));
    await utimes(folder, 1_111_111_111, 1_111_111_111);
  }
  const service = createMemoryService();
  await committed(testCheckpointer(service.connect(), from.path));
  await restoreJob(service.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});

const name = fc.constantFrom('a', 'b', 'c', '\xff', 'd\n', 'e.');
const path = fc.array(name, { minLength: 1, maxLength: 3 }).map((names) => names.join('/'));
const edit = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant('write'), path, text: fc.string({ maxLength: 20 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('remove'), path, text: fc.constant('') }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('folder'), path, text: fc.constant('') }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('link'), path, text: fc.string({ minLength: 1, maxLength: 9 }) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('mode'), path, text: fc.constant('') }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('grow'), path, text: fc.string({ maxLength: 20 }) }) },
);

/** Does what can be done: an edit that doesn't fit the tree as it is changes nothing. */
async function apply(root: string, { do: what, path, text }: { do: string; path: string; text: string }) {
  const at = Buffer.from(`${root}/${path}`, 'latin1');
  const parent = at.subarray(0, at.lastIndexOf('/'));
  const edits: Record<string, () => Promise<unknown>> = {
    write: () => writeFile(at, text),
    remove: () => rm(at, { recursive: true }),
    folder: () => mkdir(at, { recursive: true }),
    link: () => symlink(text.replaceAll('\0', '0'), at),
    mode: () => chmod(at, 0o711),
    grow: () => writeFile(at, Buffer.concat([Buffer.alloc(4 * 1024 ** 2), Buffer.from(text)])),
  };
  try {
    await mkdir(parent, { recursive: true });
    await edits[what]?.();
  } catch (error) {
    if (!(error instanceof Error && 'syscall' in error)) throw error;
  }
}

test('after any edits, a restore of a checkpoint is the tree that was checkpointed', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ edits: fc.array(edit, { maxLength: 12 }), restart: fc.boolean() }), {
        minLength: 1,
        maxLength: 4,
      }),
      async (rounds) => {
        await using from = await testFolder();
        await using index = await testFolder();
        const service = createMemoryService();
        const start = () => testCheckpointer(service.connect(), from.path, { indexDirectory: index.path });
        let checkpointer = start();
        const trees: Record<string, unknown> = {};
        for (const { edits, restart } of rounds) {
          for (const one of edits) await apply(from.path, one);
          if (restart) {
            await checkpointer.close();
            checkpointer = start();
          }
          trees[(await committed(checkpointer)).id] = await readTree(from.path);
        }
        for (const [id, tree] of Object.entries(trees)) {
          await using to = await testFolder();
          await restoreJob(service.connect(), to.path, id);
          expect(await readTree(to.path)).toEqual(tree);
        }
        await checkpointer.close();
      },
    ),
    { numRuns: 40 },
  );
}, 120_000);
