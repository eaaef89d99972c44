import { link, readFile, rm, writeFile } from 'node:fs/promises';

import { describe, expect, test } from 'vitest';

import type { Clock } from '../../../src/base/clock.ts';
import { EvictdError } from '../../../src/base/errors.ts';
import type { Workers } from '../../../src/checkpoint/worker/workers.ts';
import {
  SET_PREFIX,
  type TestCheckpointerOptions,
  committed,
  commitJob,
  laterClock,
  never,
  restoreJob,
  shiftedClock,
  testCheckpointer,
} from '../../support/checkpoints.ts';
import { changeFile, pattern, readTree, testFolder, writeTree } from '../../support/file-tree.ts';
import { createMemoryBlobs } from '../../support/memory-blobs.ts';
import { LARGE, busyFile, failing, manifestOf, meddling, noting } from './rig.ts';

/** `busy` is rewritten during each reading of it, until it is made quiet. */
function withBusyFile(from: string, options: TestCheckpointerOptions = {}) {
  const blobs = createMemoryBlobs();
  const { state, workers } = busyFile(`${from}/busy`);
  const checkpointer = testCheckpointer(blobs.connect(), from, { workers, ...options });
  const lossOf = (id: string) => ({
    kind: 'failed',
    code: 'file-changing',
    retryable: true,
    detail: expect.stringMatching(new RegExp(`^"busy" .*; checkpoint ${id} has all else`)),
    id,
  });
  return { blobs, checkpointer, lossOf, state };
}

test('a file that can not be read at any moment is committed as it was last, with all else, and named as lost', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  const early = pattern(LARGE, 100);
  await writeTree(from.path, {
    busy: { kind: 'file', content: early },
    other: { kind: 'file', content: 'old' },
  });
  const { blobs, checkpointer, lossOf, state } = withBusyFile(from.path);
  state.isBusy = false;
  // Staged, and in no checkpoint.
  await checkpointer.stage('job', never());
  state.isBusy = true;
  await changeFile(`${from.path}/busy`, pattern(LARGE, 1));
  await changeFile(`${from.path}/other`, 'new');
  expect(await commitJob(checkpointer)).toMatchObject(lossOf('00000002'));
  await restoreJob(blobs.connect(), to.path);
  expect((await readFile(`${to.path}/busy`)).equals(early)).toBe(true);
  expect(await readFile(`${to.path}/other`, 'utf8')).toBe('new');

  // As long as there is nothing else to save, trying again makes no further checkpoint, and is no success either.
  expect(await commitJob(checkpointer)).toMatchObject(lossOf('00000002'));
  expect(await checkpointer.commitIfChanged('job', never())).toMatchObject(lossOf('00000002'));
  await changeFile(`${from.path}/other`, 'newer');
  expect(await commitJob(checkpointer)).toMatchObject(lossOf('00000003'));
  state.isBusy = false;
  expect(await commitJob(checkpointer)).toMatchObject({ kind: 'committed', id: '00000004', files: 2 });
});

test('a file that was never had is left out with its other names, and all of them are named', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, {
    busy: { kind: 'file', content: pattern(LARGE, 1) },
    other: { kind: 'file', content: 'o' },
  });
  await link(`${from.path}/busy`, `${from.path}/linked`);
  const { blobs, checkpointer, lossOf } = withBusyFile(from.path);
  const result = await commitJob(checkpointer);
  expect(result).toMatchObject(lossOf('00000002'));
  expect(result.kind === 'failed' && result.detail).toContain('"linked"');
  await restoreJob(blobs.connect(), to.path);
  expect(Object.keys(await readTree(to.path))).toEqual(['other']);
});

test('what can not be had now is kept from the checkpoint before, with its other names', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, {
    busy: { kind: 'file', content: pattern(LARGE, 100) },
    other: { kind: 'file', content: 'o' },
  });
  await link(`${from.path}/busy`, `${from.path}/linked`);
  const { blobs, checkpointer, lossOf, state } = withBusyFile(from.path);
  state.isBusy = false;
  await committed(checkpointer);
  const before = await readTree(from.path);
  state.isBusy = true;
  await changeFile(`${from.path}/busy`, pattern(LARGE, 1));
  // Another process, that knows of it by the manifest alone.
  const { workers } = busyFile(`${from.path}/busy`);
  const next = testCheckpointer(blobs.connect(), from.path, { workers });
  expect(await commitJob(next)).toMatchObject(lossOf('00000004'));
  await restoreJob(blobs.connect(), to.path);
  const restored = await readTree(to.path);
  expect(Object.keys(restored)).toEqual(['busy', 'linked', 'other']);
  expect(restored['busy']).toBe(before['busy']);
});

test('a tree before that can not be read any more costs what only it had, and nothing else', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, {
    busy: { kind: 'file', content: pattern(LARGE, 100) },
    other: { kind: 'file', content: 'o' },
  });
  const { codes, onNote } = noting();
  const clock = shiftedClock();
  const { blobs, checkpointer, lossOf, state } = withBusyFile(from.path, { onNote, clock });
  state.isBusy = false;
  await committed(checkpointer);
  const [tree] = manifestOf(blobs, '00000002').metadata;
  blobs.remove(`${SET_PREFIX}packs/${tree?.name}`);
  // Packs are listed anew.
  clock.advance(3_600_000);
  state.isBusy = true;
  await changeFile(`${from.path}/busy`, pattern(LARGE, 1));
  expect(await commitJob(checkpointer)).toMatchObject(lossOf('00000003'));
  expect(codes).toEqual(['checkpoint-gone']);
  await restoreJob(blobs.connect(), to.path);
  expect(Object.keys(await readTree(to.path))).toContain('other');
});

const ERRNOS = [
  'EACCES',
  'EPERM',
  'EIO',
  'EAGAIN',
  'ESTALE',
  'ENOTCONN',
  'ETIMEDOUT',
  'EUCLEAN',
  'EMFILE',
  'EINVAL',
];

describe.each(ERRNOS)('a file that can not be read for %s', (errno) => {
  test('is named, kept from before, and costs the others nothing; it is had again once it can be', async () => {
    await using from = await testFolder();
    await using to = await testFolder();
    await writeTree(from.path, {
      'd/bad': { kind: 'file', content: 'old' },
      good: { kind: 'file', content: 'old' },
    });
    const blobs = createMemoryBlobs();
    let isFailing = false;
    const workers = failing((path) => isFailing && path === 'd/bad', errno);
    const checkpointer = testCheckpointer(blobs.connect(), from.path, { workers });
    await committed(checkpointer);
    await changeFile(`${from.path}/d/bad`, 'new');
    await changeFile(`${from.path}/good`, 'new');
    isFailing = true;
    const result = await commitJob(checkpointer);
    const code = ['EACCES', 'EPERM'].includes(errno) ? 'file-unreadable' : 'file-failed';
    expect(result).toMatchObject({ kind: 'failed', code, id: '00000003', retryable: true });
    expect(result.kind === 'failed' && result.detail).toContain('"d/bad"');
    await restoreJob(blobs.connect(), to.path);
    expect(await readFile(`${to.path}/d/bad`, 'utf8')).toBe('old');
    expect(await readFile(`${to.path}/good`, 'utf8')).toBe('new');
    isFailing = false;
    expect(await committed(checkpointer)).toMatchObject({ id: '00000004', files: 2 });
    await restoreJob(blobs.connect(), to.path);
    expect(await readFile(`${to.path}/d/bad`, 'utf8')).toBe('new');
  });
});

test('of a folder that can not be listed all that was in it is kept from before', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, {
    'closed/a': { kind: 'file', content: 'a' },
    'closed/deep/b': { kind: 'file', content: 'b' },
    'closed/deep/link': { kind: 'link', target: 'b' },
    'closed/empty': { kind: 'folder' },
    'open/c': { kind: 'file', content: 'c' },
  });
  await link(`${from.path}/closed/a`, `${from.path}/closed/z`);
  const blobs = createMemoryBlobs();
  let isFailing = false;
  const workers = (inner: Workers): Workers => ({
    ...inner,
    async list(job, signal) {
      const result = await inner.list(job, signal);
      if (result.kind === 'failed' || !isFailing) return result;
      const failure = { errno: 'EIO', message: 'EIO: as a test wants it' };
      const names = result.names.map((one, index) => (job.folders[index] === 'closed' ? failure : one));
      return { ...result, names };
    },
  });
  const checkpointer = testCheckpointer(blobs.connect(), from.path, { workers });
  await committed(checkpointer);
  const before = await readTree(from.path);
  isFailing = true;
  await changeFile(`${from.path}/open/c`, 'new');
  await rm(`${from.path}/closed/a`);
  const result = await commitJob(checkpointer);
  if (result.kind !== 'failed') throw new Error('it was to be lost');
  expect(result).toMatchObject({ code: 'file-failed', id: '00000003' });
  await restoreJob(blobs.connect(), to.path);
  const restored = await readTree(to.path);
  expect(Object.keys(restored)).toEqual(Object.keys(before));
  expect(restored['closed/deep/b']).toBe(before['closed/deep/b']);
  expect(await readFile(`${to.path}/open/c`, 'utf8')).toBe('new');
});

test('a linked file whose first name goes away in the last look is had by another one, in its place', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, { m: { kind: 'file', content: 'm' }, z: { kind: 'file', content: 'z' } });
  const blobs = createMemoryBlobs();
  let looks = 0;
  let writes = 0;
  const workers = (inner: Workers): Workers =>
    meddling({
      // A file that is busy makes it look again and again.
      after: (paths) => (paths.includes('m') ? changeFile(`${from.path}/m`, `m${++writes}`) : undefined),
      before: (paths) => (paths.includes('a') ? rm(`${from.path}/a`, { force: true }) : undefined),
    })({
      ...inner,
      async list(job, signal) {
        if (++looks === 5) {
          await writeFile(`${from.path}/a`, 'a');
          await link(`${from.path}/a`, `${from.path}/b`);
        }
        return inner.list(job, signal);
      },
    });
  await committed(testCheckpointer(blobs.connect(), from.path, { workers }));
  await restoreJob(blobs.connect(), to.path);
  expect(Object.keys(await readTree(to.path))).toEqual(['b', 'm', 'z']);
});

test('a mount that hangs holds up the end of the process for some seconds only', async () => {
  await using from = await testFolder();
  await writeTree(from.path, { a: { kind: 'file', content: 'a' } });
  const waited: number[] = [];
  const clock: Clock = {
    ...laterClock,
    timer(ms, fire) {
      waited.push(ms);
      return laterClock.timer(Math.min(ms, 10), fire);
    },
  };
  const [reached, hung] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const workers = meddling({
    before: () => {
      reached.resolve();
      return hung.promise;
    },
  });
  const checkpointer = testCheckpointer(createMemoryBlobs().connect(), from.path, { clock, workers });
  const controller = new AbortController();
  const answer = commitJob(checkpointer, controller.signal);
  await reached.promise;
  controller.abort(new EvictdError('timeout', 'the time is over'));
  expect(await answer).toMatchObject({ kind: 'failed', code: 'timeout' });
  await checkpointer.close();
  expect(Math.max(...waited)).toBe(5000);
  hung.resolve();
});
