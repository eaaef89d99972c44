import { mkdtemp, rm, symlink } from 'node:fs/promises';

import { expect, onTestFinished, test } from 'vitest';

import { commitJob, committed, testCheckpointer } from '../support/checkpoints.ts';
import { testFolder, writeTree } from '../support/file-tree.ts';
import { createMemoryService } from '../support/memory-store.ts';

test('an empty folder on another disk is no folder whose files were removed', async () => {
  await using disk = await testFolder();
  // Another file system than that of the temporary folder: what is seen of a disk that isn't mounted.
  const below = await mkdtemp('/dev/shm/evictd-test-');
  onTestFinished(() => rm(below, { recursive: true }));
  await writeTree(disk.path, { 'data/a': { kind: 'file', content: 'a' } });
  const path = `${disk.path}/set`;
  await symlink(`${disk.path}/data`, path);
  const checkpointer = testCheckpointer(createMemoryService().connect(), path);
  await committed(checkpointer);
  await rm(path);
  await symlink(below, path);
  expect(await commitJob(checkpointer)).toMatchObject({ code: 'set-path-missing', retryable: true });
  await rm(path);
  await symlink(`${disk.path}/data`, path);
  await rm(`${path}/a`);
  expect(await committed(checkpointer)).toMatchObject({ files: 0 });
});
