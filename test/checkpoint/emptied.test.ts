import { rm } from 'node:fs/promises';

import { expect, it } from 'vitest';

import { listManifests } from '../../src/checkpoint/manifest.ts';
import { pruneSet } from '../../src/checkpoint/prune.ts';
import { restore } from '../../src/checkpoint/restore.ts';
import { PLACE, committed, laterClock, never, reader, testCheckpointer } from '../support/checkpoints.ts';
import { testFolder, writeTree } from '../support/file-tree.ts';
import { createMemoryService } from '../support/memory-store.ts';

it('a folder that is empty by mistake is told of once, and costs no checkpoint that has files', async () => {
  await using from = await testFolder();
  const service = createMemoryService();
  const notes: string[] = [];
  const onNote = (_set: string, { message }: Error) => void notes.push(message);
  const checkpointer = testCheckpointer(service.connect(), from.path, { onNote });
  await committed(checkpointer);
  await writeTree(from.path, { a: { kind: 'file', content: 'hours of work' } });
  await committed(checkpointer);
  expect(notes).toEqual([]);
  await rm(`${from.path}/a`);
  for (let round = 3; round <= 5; round++) await committed(checkpointer);
  const told = `${from.path} has no files any more, so the checkpoint has none; 00000002 had 1`;
  expect(notes).toEqual([told]);
  const pruned = await pruneSet({ ...PLACE, keep: 2, dryRun: false }, { store: service.connect() }, never());
  expect(pruned).toMatchObject({ removed: ['00000001', '00000003'] });
  const left = await listManifests(service.connect(), PLACE, never());
  expect(left.map(({ id }) => id)).toEqual(['00000002', '00000004', '00000005']);

  await using to = await testFolder();
  const restored = async (at: string) => {
    const dependencies = { store: service.connect(), clock: laterClock, reader, onNote: note };
    return restore({ ...PLACE, target: to.path, durable: false, at }, dependencies, never());
  };
  const note = (error: Error) => onNote('', error);
  expect(await restored('00000005')).toMatchObject({ files: 0 });
  expect(notes.at(-1)).toContain(
    'checkpoint 00000005 of job has no files; `evictd checkpoints` lists older ones',
  );
  expect(await restored('00000002')).toMatchObject({ files: 1 });

  await writeTree(from.path, { a: { kind: 'file', content: 'more of it' } });
  await committed(checkpointer);
  await pruneSet({ ...PLACE, keep: 1, dryRun: false }, { store: service.connect() }, never());
  const after = await listManifests(service.connect(), PLACE, never());
  expect(after.map(({ id }) => id)).toEqual(['00000006']);
});
