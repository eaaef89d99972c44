import { expect, test } from 'vitest';

import { EvictdError } from '../../../src/base/errors.ts';
import { commitJob, never, testCheckpointer } from '../../support/checkpoints.ts';
import { testFolder, writeTree } from '../../support/file-tree.ts';
import { createMemoryBlobs } from '../../support/memory-blobs.ts';
import { meddling } from './rig.ts';

test('a defect is no failure of a file: it is told as what it is', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { a: { kind: 'file', content: 'a' } });
  const workers = meddling({
    before() {
      throw new TypeError("Cannot read properties of undefined (reading 'x')");
    },
  });
  const checkpointer = testCheckpointer(createMemoryBlobs().connect(), from.path, { workers });
  expect(await commitJob(checkpointer)).toMatchObject({
    kind: 'failed',
    code: 'internal',
    detail: expect.stringMatching(/Cannot read properties.* at .*defects\.test\.ts/),
  });
  await expect(checkpointer.stage('job', never())).rejects.toMatchObject({ code: 'internal' });
});

test('a system error of no file in particular is told by its message', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { a: { kind: 'file', content: 'a' } });
  const workers = meddling({
    before() {
      throw Object.assign(new Error('EMFILE: too many open files'), { code: 'EMFILE' });
    },
  });
  const result = await commitJob(testCheckpointer(createMemoryBlobs().connect(), from.path, { workers }));
  expect(result).toMatchObject({
    kind: 'failed',
    code: 'file-failed',
    detail: 'EMFILE: too many open files',
  });
});

test('an error that has a code of its own keeps it', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { a: { kind: 'file', content: 'a' } });
  const workers = meddling({
    before() {
      throw new EvictdError('worker-failed', 'the thread died');
    },
  });
  const result = await commitJob(testCheckpointer(createMemoryBlobs().connect(), from.path, { workers }));
  expect(result).toMatchObject({ code: 'worker-failed', retryable: true });
});
