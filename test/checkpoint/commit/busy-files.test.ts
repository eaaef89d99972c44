import { writeFileSync } from 'node:fs';
import { open, readFile, rename, writeFile } from 'node:fs/promises';

import { expect, test } from 'vitest';

import { systemClock } from '../../../src/base/clock.ts';
import { commitJob, committed, restoreJob, testCheckpointer } from '../../support/checkpoints.ts';
import { changeFile, pattern, testFolder, writeTree } from '../../support/file-tree.ts';
import { createMemoryBlobs } from '../../support/memory-blobs.ts';
import { MIB, meddling } from './rig.ts';

test('a small file that is rewritten many times a second does not fail the checkpoint', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, { step: { kind: 'file', content: '1' } });
  const writer = setInterval(() => writeFileSync(`${from.path}/step`, `${Date.now()}`), 30);
  const store = createMemoryBlobs().connect();
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
  'a file of %i bytes that is replaced as a whole before each reading is saved as one of its versions',
  async (bytes) => {
    await using from = await testFolder();
    await using to = await testFolder();
    await writeTree(from.path, { state: { kind: 'file', content: pattern(bytes, 1) } });
    let versions = 1;
    const store = createMemoryBlobs().connect();
    const workers = meddling({
      async before() {
        const next = `${from.path}.${++versions}`;
        await writeFile(next, pattern(bytes, versions));
        await rename(next, `${from.path}/state`);
      },
    });
    const checkpointer = testCheckpointer(store, from.path, { clock: systemClock, workers });
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
  const store = createMemoryBlobs().connect();
  const workers = meddling({
    async before() {
      // The first readings come right after a write; whoever looks at the file and reads it later is too late.
      if (writes < 3) await changeFile(`${from.path}/status`, 'x'.repeat(++writes));
    },
  });
  const checkpointer = testCheckpointer(store, from.path, { clock: systemClock, workers });
  expect(await commitJob(checkpointer)).toMatchObject({ kind: 'committed' });
  await restoreJob(store, to.path);
  expect(await readFile(`${to.path}/status`, 'utf8')).toBe('x'.repeat(writes));
});

test('what was read while a writer may have been inside of one large write is read again', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, { state: { kind: 'file', content: pattern(13 * MIB, 1) } });
  const store = createMemoryBlobs().connect();
  let readings = 0;
  // A write stamps the file when it begins. So the rest of it comes without another stamp: it is put back here.
  const workers = meddling({
    async after(paths) {
      if (!paths.includes('state') || ++readings > 1) return;
      await using file = await open(`${from.path}/state`, 'r+');
      await file.write(pattern(13 * MIB, 2));
    },
  });
  const checkpointer = testCheckpointer(store, from.path, { clock: systemClock, workers });
  await changeFile(`${from.path}/state`, pattern(13 * MIB, 3));
  expect(await commitJob(checkpointer)).toMatchObject({ kind: 'committed' });
  expect(readings).toBeGreaterThan(1);
  await restoreJob(store, to.path);
  expect((await readFile(`${to.path}/state`)).equals(pattern(13 * MIB, 2))).toBe(true);
});
