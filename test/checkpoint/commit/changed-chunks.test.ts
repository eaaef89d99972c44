import { appendFile, link, open, rename, rm, truncate, writeFile } from 'node:fs/promises';

import { expect, test } from 'vitest';

import { committed, never, restoreJob, testCheckpointer } from '../../support/checkpoints.ts';
import { changeFile, pattern, readTree, testFolder, writeTree } from '../../support/file-tree.ts';
import { createMemoryBlobs } from '../../support/memory-blobs.ts';
import { MIB, packBytes } from './rig.ts';

const SIZE = 34 * MIB + 1234;

async function changeAt(path: string, ...positions: number[]): Promise<void> {
  await using file = await open(path, 'r+');
  for (const position of positions) await file.write('changed', position);
}

async function largeFile() {
  const from = await testFolder();
  const path = `${from.path}/large`;
  await writeFile(path, pattern(SIZE));
  const blobs = createMemoryBlobs();
  return {
    path,
    from: from.path,
    blobs,
    store: blobs.connect(),
    [Symbol.asyncDispose]: () => from[Symbol.asyncDispose](),
  };
}

/** Bytes that a checkpoint sends. */
async function sentBy(store: Parameters<typeof packBytes>[0], work: () => Promise<unknown>) {
  const before = packBytes(store);
  await work();
  return packBytes(store) - before;
}

test('of a large file only the chunks that changed are sent', async () => {
  await using large = await largeFile();
  await using to = await testFolder();
  const { store, path } = large;
  const checkpointer = testCheckpointer(store, large.from);
  await checkpointer.stage('job', never());
  expect(packBytes(store)).toBeGreaterThan(SIZE);
  // The first change lies across two chunks, the last one in the short one at the end.
  await changeAt(path, 12 * MIB - 3, 28 * MIB, SIZE - 7);
  const sent = await sentBy(store, () => committed(checkpointer));
  expect(sent).toBeGreaterThan(3 * MIB + 1234);
  expect(sent).toBeLessThan(3.1 * MIB);
  await restoreJob(store, to.path);
  expect(await readTree(to.path)).toEqual(await readTree(large.from));
});

test('ids of chunks are kept between processes, and by the store where there is no index', async () => {
  await using large = await largeFile();
  await using state = await testFolder();
  const { blobs, path } = large;
  const first = testCheckpointer(large.store, large.from, { indexDirectory: state.path });
  await committed(first);
  await first.close();
  for (const options of [{ indexDirectory: state.path }, {}, { bootId: 'another', vmName: 'vm-2' }]) {
    await changeAt(path, 20 * MIB);
    await changeAt(path, (10 + Object.keys(options).length) * MIB);
    const store = blobs.connect();
    const next = testCheckpointer(store, large.from, options);
    expect(await sentBy(store, () => committed(next))).toBeLessThan(2.1 * MIB);
    expect(next.activity().get('job')?.bytesRead).toBe(SIZE);
    await next.close();
  }
});

test('files that grow, shrink, get holes and lose them come back, and what stays in its place is not sent', async () => {
  await using large = await largeFile();
  const { store, path, from } = large;
  const checkpointer = testCheckpointer(store, from);
  await committed(checkpointer);
  const expectRestored = async () => {
    await using to = await testFolder();
    await restoreJob(store, to.path);
    expect(await readTree(to.path)).toEqual(await readTree(from));
  };
  const content = pattern(SIZE);
  const steps: readonly (readonly [() => Promise<unknown>, number])[] = [
    [() => truncate(path, 8 * MIB + 5), 0.1],
    [() => truncate(path, 30 * MIB), 1.1],
    [() => changeFile(path, Buffer.concat([content.subarray(0, 8 * MIB + 5), Buffer.alloc(4 * MIB)])), 1.1],
    [() => changeFile(path, content.subarray(0, 20 * MIB)), 12.1],
    [() => truncate(path, 0), 0.1],
    [() => changeFile(path, ''), 0.1],
    [() => changeFile(path, content.subarray(0, 3 * MIB)), 3.1],
  ];
  for (const [step, mib] of steps) {
    await step();
    expect(await sentBy(store, () => committed(checkpointer))).toBeLessThan(mib * MIB);
    await expectRestored();
  }
});

test('files that got other names are not sent again, whatever had those names, nor where they grow then', async () => {
  await using from = await testFolder();
  const mibs = [pattern(5 * MIB, 1), pattern(6 * MIB, 2), pattern(7 * MIB, 3)] as const;
  for (const [at, content] of mibs.entries()) await writeFile(`${from.path}/log.${at}`, content);
  await writeTree(from.path, { 'old/deep/big': { kind: 'file', content: pattern(9 * MIB, 4) } });
  const blobs = createMemoryBlobs();
  const store = blobs.connect();
  const checkpointer = testCheckpointer(store, from.path);
  await committed(checkpointer);
  const steps: readonly (() => Promise<unknown>)[] = [
    () => rename(`${from.path}/old`, `${from.path}/new`),
    // As logs are rotated, with the last lines of the newest one written under its next name.
    async () => {
      await rename(`${from.path}/log.1`, `${from.path}/log.2`);
      await rename(`${from.path}/log.0`, `${from.path}/log.1`);
      await writeFile(`${from.path}/log.0`, 'a new one\n');
      await appendFile(`${from.path}/log.1`, 'the last line\n');
    },
    async () => {
      await link(`${from.path}/log.2`, `${from.path}/another`);
      await rm(`${from.path}/log.2`);
    },
  ];
  for (const step of steps) {
    await step();
    expect(await sentBy(store, () => committed(checkpointer))).toBeLessThan(100_000);
    await using to = await testFolder();
    await restoreJob(store, to.path);
    expect(await readTree(to.path)).toEqual(await readTree(from.path));
  }
});
