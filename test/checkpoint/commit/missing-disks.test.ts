import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { promisify } from 'node:util';

import { expect, onTestFinished, test } from 'vitest';

import { createPace } from '../../../src/checkpoint/commit/pace.ts';
import { pruneSet } from '../../../src/checkpoint/retention/prune.ts';
import { listEntries } from '../../../src/checkpoint/index/entries.ts';
import {
  PLACE,
  commitJob,
  committed,
  laterClock,
  never,
  restoreJob,
  testCheckpointer,
} from '../../support/checkpoints.ts';
import { changeFile, pattern, readTree, testFolder, writeTree } from '../../support/file-tree.ts';
import { createMemoryBlobs } from '../../support/memory-blobs.ts';
import { mayMount } from '../../support/small-disk.ts';
import { MIB, afterReading, noting } from './rig.ts';

const run = promisify(execFile);
const IDLE = { idleMs: 0, pace: createPace({ bytesPerSecond: Infinity }, { clock: laterClock }) };

/** A set's folder that is a link to one on a disk, and to one on another file system when that is "not mounted". */
async function linkedFolder() {
  const disk = await testFolder();
  // What is seen of a disk that isn't mounted.
  const below = await mkdtemp('/dev/shm/evictd-test-');
  onTestFinished(() => rm(below, { recursive: true }));
  onTestFinished(() => disk[Symbol.asyncDispose]());
  const path = `${disk.path}/set`;
  await mkdir(`${disk.path}/data`);
  await symlink(`${disk.path}/data`, path);
  const mount = async (isThere: boolean) => {
    await rm(path);
    await symlink(isThere ? `${disk.path}/data` : below, path);
  };
  return { path, mount };
}

test('an empty folder on another disk is no folder whose files were removed', async () => {
  const { path, mount } = await linkedFolder();
  await writeTree(path, { a: { kind: 'file', content: 'a' } });
  const checkpointer = testCheckpointer(createMemoryBlobs().connect(), path);
  await committed(checkpointer);
  await mount(false);
  expect(await commitJob(checkpointer)).toMatchObject({ code: 'set-path-missing', retryable: true });
  await mount(true);
  await rm(`${path}/a`);
  expect(await committed(checkpointer)).toMatchObject({ files: 0 });
});

test('that is known by a file, too, of which only parts were staged', async () => {
  const { path, mount } = await linkedFolder();
  await writeTree(path, { big: { kind: 'file', content: pattern(20 * MIB) } });
  const blobs = createMemoryBlobs();
  let seed = 1;
  const checkpointer = testCheckpointer(blobs.connect(), path, {
    // It is never had at one moment.
    workers: afterReading(() => changeFile(`${path}/big`, pattern(20 * MIB, ++seed))),
  });
  await checkpointer.stageIdle('job', IDLE, never());
  await mount(false);
  expect(await commitJob(checkpointer)).toMatchObject({ code: 'set-path-missing', retryable: true });
});

async function withInnerDisk() {
  const from = await testFolder();
  await mkdir(`${from.path}/inner`);
  const mount = () => run('mount', ['-t', 'tmpfs', 'evictd-test', `${from.path}/inner`]);
  const unmount = () => run('umount', [`${from.path}/inner`]);
  await mount();
  onTestFinished(async () => {
    await unmount().catch(() => undefined);
    await from[Symbol.asyncDispose]();
  });
  await writeTree(from.path, {
    outer: { kind: 'file', content: 'outer' },
    'inner/a': { kind: 'file', content: 'a' },
    'inner/deep/b': { kind: 'file', content: 'b' },
    'inner/deep/link': { kind: 'link', target: 'b' },
    'inner/empty': { kind: 'folder' },
    'inner/link': { kind: 'link', target: 'a' },
  });
  return { path: from.path, unmount };
}

test.skipIf(!mayMount)(
  'a disk inside of a set that is not mounted any more: its files are kept from before, and named',
  async () => {
    await using to = await testFolder();
    const { path, unmount } = await withInnerDisk();
    const blobs = createMemoryBlobs();
    const checkpointer = testCheckpointer(blobs.connect(), path);
    await committed(checkpointer);
    const before = await readTree(path);
    await unmount();
    await changeFile(`${path}/outer`, 'changed');
    const result = await commitJob(checkpointer);
    expect(result).toMatchObject({ kind: 'failed', code: 'disk-missing', id: '00000003' });
    expect(result.kind === 'failed' && result.detail).toMatch(/"inner\/a".*"inner\/deep\/b"/);
    await restoreJob(blobs.connect(), to.path);
    const restored = await readTree(to.path);
    const { outer, inner: _inner, ...kept } = restored;
    const { outer: _before, inner: _mounted, ...expected } = before;
    expect(kept).toEqual(expected);
    expect(outer).toContain('changed');
  },
);

test.skipIf(!mayMount)('what the config excludes by now is not missed', async () => {
  await using state = await testFolder();
  const { path, unmount } = await withInnerDisk();
  const blobs = createMemoryBlobs();
  const options = { indexDirectory: state.path };
  const first = testCheckpointer(blobs.connect(), path, options);
  await committed(first);
  await first.close();
  await unmount();
  const next = testCheckpointer(blobs.connect(), path, { ...options, set: { exclude: ['inner/'] } });
  expect(await committed(next)).toMatchObject({ files: 1 });
  await next.close();
});

test.each(['the same VM', 'another VM'])(
  'a folder that is empty from the start of a boot on %s may not be mounted, or not restored',
  async (which) => {
    await using from = await testFolder();
    await using state = await testFolder();
    await using otherState = await testFolder();
    const blobs = createMemoryBlobs();
    await writeTree(from.path, { a: { kind: 'file', content: 'hours of work' } });
    const first = testCheckpointer(blobs.connect(), from.path, { indexDirectory: state.path });
    await committed(first);
    await first.close();
    await rm(`${from.path}/a`);
    const directory = which === 'another VM' ? otherState : state;
    const options = { indexDirectory: directory.path, bootId: 'the next boot' };
    const next = testCheckpointer(blobs.connect(), from.path, options);
    const result = await commitJob(next);
    expect(result).toMatchObject({ code: 'set-path-missing', retryable: true });
    expect(result.kind === 'failed' && result.detail).toMatch(
      /holds no file, and checkpoint 00000002 has 1; .*evictd restore.*--take-over/,
    );
    // Whoever is asked for says that it is meant to be so.
    const taken = await next.commit({ set: 'job', reason: 'command', takeOver: true }, never());
    expect(taken).toMatchObject({ kind: 'committed', files: 0 });
    expect(await committed(next)).toMatchObject({ files: 0 });
    await next.close();
  },
);

test.skipIf(!mayMount)('a disk inside of a set that is not mounted after a boot is missed, too', async () => {
  await using state = await testFolder();
  const { path, unmount } = await withInnerDisk();
  const blobs = createMemoryBlobs();
  const first = testCheckpointer(blobs.connect(), path, { indexDirectory: state.path });
  await committed(first);
  await first.close();
  await unmount();
  const options = { indexDirectory: state.path, bootId: 'the next boot' };
  const next = testCheckpointer(blobs.connect(), path, options);
  const result = await commitJob(next);
  expect(result).toMatchObject({ kind: 'failed', code: 'disk-missing' });
  expect(result.kind === 'failed' && result.detail).toMatch(/"inner\/a".*"inner\/deep\/b"/);
  // Not only once.
  expect(await commitJob(next)).toMatchObject({ kind: 'failed', code: 'disk-missing' });
  await next.close();
});

test.skipIf(!mayMount)(
  'files that are back in the folder of a disk that has gone are not missed',
  async () => {
    await using state = await testFolder();
    const { path, unmount } = await withInnerDisk();
    const blobs = createMemoryBlobs();
    const first = testCheckpointer(blobs.connect(), path, { indexDirectory: state.path });
    await committed(first);
    await first.close();
    await unmount();
    await restoreJob(blobs.connect(), `${state.path}/back`);
    await run('cp', ['-a', `${state.path}/back/inner/.`, `${path}/inner/`]);
    for (const bootId of ['the next boot', 'the one after']) {
      const next = testCheckpointer(blobs.connect(), path, { indexDirectory: state.path, bootId });
      expect(await committed(next)).toMatchObject({ files: 3 });
      await next.close();
    }
  },
);

test('a folder that is empty by mistake is told of once, and costs no checkpoint that has files', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  let now = Date.now();
  const blobs = createMemoryBlobs({ wallMs: () => now });
  const prune = async (keep: number) => {
    now += 2 * 3_600_000;
    return pruneSet({ place: PLACE, keep, dryRun: false }, { store: blobs.connect() }, never());
  };
  const ids = async () => (await listEntries(blobs.connect(), PLACE, never())).entries.map(({ id }) => id);
  const { messages, onNote } = noting();
  const checkpointer = testCheckpointer(blobs.connect(), from.path, { onNote });
  expect(await committed(checkpointer)).toMatchObject({ id: '00000002', files: 0 });
  await writeTree(from.path, { a: { kind: 'file', content: 'hours of work' } });
  await committed(checkpointer);
  expect(messages).toEqual([]);
  await rm(`${from.path}/a`);
  for (let round = 0; round < 3; round++)
    expect(await committed(checkpointer)).toMatchObject({ id: '00000004' });
  expect(messages).toEqual([
    `${from.path} has no files any more, so the checkpoint has none; 00000003 had 1`,
  ]);
  expect(await prune(1)).toMatchObject({ removed: ['00000002'] });
  expect(await ids()).toEqual(['00000001', '00000003', '00000004']);
  expect(await restoreJob(blobs.connect(), to.path, '00000003')).toMatchObject({ files: 1 });

  await writeTree(from.path, { a: { kind: 'file', content: 'more of it' } });
  await committed(checkpointer);
  await prune(1);
  expect(await ids()).toEqual(['00000001', '00000005']);
});
