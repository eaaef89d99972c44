import { writeFileSync } from 'node:fs';
import { readFile, rename, writeFile } from 'node:fs/promises';

import { expect, test } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import type { ReadJob } from '../../src/checkpoint/read-job.ts';
import type { BlobStore } from '../../src/checkpoint/store.ts';
import { committed, commitJob, reader, restoreJob, testCheckpointer } from '../support/checkpoints.ts';
import { changeFile, pattern, testFolder, writeTree } from '../support/file-tree.ts';
import { createMemoryService } from '../support/memory-store.ts';

const MIB = 1024 ** 2;

/** On the real clock, with something done right before each job of the reading threads. */
function meddledCheckpointer(store: BlobStore, path: string, before: (job: ReadJob) => Promise<void>) {
  return testCheckpointer(store, path, {
    clock: systemClock,
    reader: {
      ...reader,
      async run(job, signal) {
        await before(job);
        return reader.run(job, signal);
      },
    },
  });
}

test('a small file that is rewritten many times a second does not fail the checkpoint', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, { step: { kind: 'file', content: '1' } });
  const writer = setInterval(() => writeFileSync(`${from.path}/step`, `${Date.now()}`), 30);
  const store = createMemoryService().connect();
  try {
    for (let round = 0; round < 5; round++) {
      await committed(testCheckpointer(store, from.path, { clock: systemClock }));
    }
  } finally {
    clearInterval(writer);
  }
  await restoreJob(store, to.path);
  expect(await readFile(`${to.path}/step`, 'utf8')).toMatch(/^\d*$/);
});

test.each([100, 13 * MIB])(
  'a file of %i bytes that is replaced as a whole during each reading is saved as one of its versions',
  async (bytes) => {
    await using from = await testFolder();
    await using to = await testFolder();
    await writeTree(from.path, { state: { kind: 'file', content: pattern(bytes, 1) } });
    let versions = 1;
    const store = createMemoryService().connect();
    const checkpointer = meddledCheckpointer(store, from.path, async ({ kind }) => {
      if (kind !== 'file' && kind !== 'block') return;
      const next = `${from.path}.${++versions}`;
      await writeFile(next, pattern(bytes, versions));
      await rename(next, `${from.path}/state`);
    });
    expect(await commitJob(checkpointer)).toMatchObject({ kind: 'committed', bytes });
    await restoreJob(store, to.path);
    const restored = await readFile(`${to.path}/state`);
    const whole = Array.from({ length: versions }, (_, index) => pattern(bytes, index + 1));
    expect(whole.some((version) => version.equals(restored))).toBe(true);
  },
);

test('a small file that is rewritten in place all the time is read between two writes', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, { status: { kind: 'file', content: '0' } });
  let writes = 0;
  const store = createMemoryService().connect();
  const checkpointer = meddledCheckpointer(store, from.path, async ({ kind }) => {
    // The first look comes right after a write; whoever looks at the file and reads it later is too late.
    if (kind === 'block' || (kind === 'file' && writes < 3))
      await changeFile(`${from.path}/status`, 'x'.repeat(++writes));
  });
  expect(await commitJob(checkpointer)).toMatchObject({ kind: 'committed' });
  await restoreJob(store, to.path);
  expect(await readFile(`${to.path}/status`, 'utf8')).toBe('x'.repeat(writes));
});
