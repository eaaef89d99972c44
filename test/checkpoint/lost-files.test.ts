import { link, readFile } from 'node:fs/promises';

import { expect, test } from 'vitest';

import { restore } from '../../src/checkpoint/restore.ts';
import { TRANSFER_LIMITS } from '../../src/checkpoint/transfer.ts';
import {
  committed,
  commitJob,
  laterClock,
  never,
  PLACE,
  reader,
  restoreJob,
  testCheckpointer,
} from '../support/checkpoints.ts';
import { changeFile, pattern, readTree, testFolder, writeTree } from '../support/file-tree.ts';
import { createMemoryService } from '../support/memory-store.ts';

const MIB = 1024 ** 2;
/** One block at a time, so that a file is still being read while its first blocks are sent. */
const NARROW = { ...TRANSFER_LIMITS, requestsMax: 1, bytesMax: 4 * MIB };

test('a file whose last version only the checkpoint before has fails the next one by name, and that one stays', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, { 'busy.log': { kind: 'file', content: 'x' } });
  const service = createMemoryService();
  await committed(testCheckpointer(service.connect(), from.path));
  const before = await readTree(from.path);
  let writes = 1;
  const store = service.connect({
    async before(call) {
      if (call.operation === 'stageBlock')
        await changeFile(`${from.path}/busy.log`, pattern(13 * MIB, ++writes));
    },
  });
  await changeFile(`${from.path}/busy.log`, pattern(13 * MIB, 1));
  const result = await commitJob(testCheckpointer(store, from.path, { limits: NARROW }));
  expect(result).toMatchObject({ kind: 'failed', code: 'file-changing', retryable: true });
  expect(result.kind === 'failed' && result.detail).toContain('busy.log');
  await restoreJob(service.connect(), to.path);
  expect(await readTree(to.path)).toEqual(before);
});

/** `busy` is rewritten during each reading of it, until it is made quiet. */
async function withBusyFile(from: string) {
  const service = createMemoryService();
  let writes = 1;
  let isQuiet = false;
  const store = service.connect({
    async before({ operation, name }) {
      if (operation !== 'stageBlock' || !name.endsWith('/files/busy') || isQuiet) return;
      await changeFile(`${from}/busy`, pattern(13 * MIB, ++writes));
    },
  });
  const checkpointer = testCheckpointer(store, from, { limits: NARROW });
  const lossOf = (id: string) => ({
    kind: 'failed',
    code: 'file-changing',
    retryable: true,
    detail: expect.stringMatching(new RegExp(`^"busy" .*; checkpoint ${id} has all else`)),
    id,
  });
  return { service, checkpointer, lossOf, quiet: (now: boolean) => void (isQuiet = now) };
}

test('a file that can not be read at any moment is committed as it was last, with all else, and named as lost', async () => {
  await using from = await testFolder();
  const early = pattern(13 * MIB, 100);
  await writeTree(from.path, {
    busy: { kind: 'file', content: early },
    other: { kind: 'file', content: 'old' },
  });
  const { service, checkpointer, lossOf, quiet } = await withBusyFile(from.path);
  quiet(true);
  // Staged, and in no checkpoint.
  await checkpointer.stage('job', never());
  quiet(false);
  await changeFile(`${from.path}/busy`, pattern(13 * MIB, 1));
  await changeFile(`${from.path}/other`, 'new');
  expect(await commitJob(checkpointer)).toMatchObject(lossOf('00000001'));
  await using to = await testFolder();
  const notes: string[] = [];
  await restore(
    { ...PLACE, target: to.path },
    { store: service.connect(), clock: laterClock, reader, onNote: ({ message }) => notes.push(message) },
    never(),
  );
  expect((await readFile(`${to.path}/busy`)).equals(early)).toBe(true);
  expect(await readFile(`${to.path}/other`, 'utf8')).toBe('new');
  expect(notes).toEqual([expect.stringContaining('"busy"')]);

  // As long as there is nothing else to save, trying again makes no further checkpoint.
  expect(await commitJob(checkpointer)).toMatchObject(lossOf('00000001'));
  await changeFile(`${from.path}/other`, 'newer');
  expect(await commitJob(checkpointer)).toMatchObject(lossOf('00000002'));
  quiet(true);
  expect(await commitJob(checkpointer)).toMatchObject({ kind: 'committed', id: '00000003', files: 2 });
});

test('a file that was never had is left out, and named as lost', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, {
    busy: { kind: 'file', content: pattern(13 * MIB, 1) },
    other: { kind: 'file', content: 'o' },
  });
  await link(`${from.path}/busy`, `${from.path}/linked`);
  const { service, checkpointer, lossOf } = await withBusyFile(from.path);
  expect(await commitJob(checkpointer)).toMatchObject(lossOf('00000001'));
  await restoreJob(service.connect(), to.path);
  expect(Object.keys(await readTree(to.path))).toEqual(['other']);
});
