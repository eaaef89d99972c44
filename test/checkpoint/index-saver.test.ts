import { mkdir, rmdir } from 'node:fs/promises';

import { expect, test } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import { createIndexSaver } from '../../src/checkpoint/index-saver.ts';
import { committed, never, testCheckpointer } from '../support/checkpoints.ts';
import { testFolder, writeTree } from '../support/file-tree.ts';
import { createMemoryService } from '../support/memory-store.ts';

test('an index that could not be written is told, and written once that is possible', async () => {
  await using from = await testFolder();
  await using state = await testFolder();
  await writeTree(from.path, { a: { kind: 'file', content: 'a' } });
  const inTheWay = `${state.path}/job.index.jsonl.new`;
  await mkdir(inTheWay);
  const notes: string[] = [];
  const service = createMemoryService();
  const options = { indexDirectory: state.path };
  const checkpointer = testCheckpointer(service.connect(), from.path, {
    ...options,
    onNote: (_set, error) => notes.push(error.message),
  });
  await committed(checkpointer);
  await checkpointer.close();
  expect(notes).toEqual([expect.stringContaining("the file index of job can't be written")]);
  await rmdir(inTheWay);
  await checkpointer.stage('job', never());
  await checkpointer.close();
  const next = testCheckpointer(service.connect(), from.path, options);
  await committed(next);
  expect(next.activity().get('job')).toMatchObject({ filesRead: 0 });
});

test('one save at a time, the newest state last, and none while a commit is under way', async () => {
  const saves: PromiseWithResolvers<void>[] = [];
  let isCommitting = true;
  const saver = createIndexSaver(
    { name: 'job' },
    {
      save() {
        const one = Promise.withResolvers<void>();
        saves.push(one);
        return one.promise;
      },
      isCommitting: () => isCommitting,
      clock: systemClock,
      onFailure: (error) => expect.unreachable(error.message),
    },
  );
  saver.changed();
  saver.begin();
  expect(saves).toHaveLength(0);
  isCommitting = false;
  saver.begin();
  saver.changed();
  saver.begin();
  saver.changed();
  saver.begin();
  expect(saves).toHaveLength(1);
  const finished = saver.finish();
  saves[0]?.resolve();
  await expect.poll(() => saves.length).toBe(2);
  saves[1]?.resolve();
  await finished;
  expect(saves).toHaveLength(2);
});

test('a disk that hangs is given up when all ends, and told', async () => {
  const notes: string[] = [];
  const saver = createIndexSaver(
    { name: 'job' },
    {
      save: () => new Promise(() => undefined),
      isCommitting: () => false,
      clock: { ...systemClock, timer: (_delay, fire) => systemClock.timer(0, fire) },
      onFailure: ({ message }) => notes.push(message),
    },
  );
  saver.changed();
  saver.begin();
  await saver.finish();
  expect(notes).toEqual([expect.stringContaining('the disk did not answer')]);
});
