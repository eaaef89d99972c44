import {
  chmod,
  chown,
  lchown,
  lstat,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { EvictdError } from '../../../src/base/errors.ts';
import { readTree, pattern, testFolder, writeTree } from '../../support/file-tree.ts';
import { makeCheckpoint } from '../../support/make-checkpoint.ts';
import { createMemoryBlobs, storeError } from '../../support/memory-blobs.ts';
import { mayMount, smallDisk } from '../../support/small-disk.ts';
import { inPlace, MIB, notes, restoreJob, saved } from './rig.ts';

const isRoot = process.getuid?.() === 0;
const SOMEBODY = 5001;

test.skipIf(!isRoot)(
  'a link of somebody in the place of the set’s folder leads nowhere but to their own folders',
  async () => {
    await using there = await saved({
      'ld.so.preload': { kind: 'file', content: 'evil' },
      'cron.d/x': { kind: 'file', content: 'x' },
    });
    await using lab = await testFolder();
    const path = (name: string) => join(lab.path, name);
    for (const name of ['etc', 'etc/cron.d', 'home', 'home/real']) await mkdir(path(name));
    for (const name of ['home', 'home/real']) await chown(path(name), SOMEBODY, SOMEBODY);
    const link = async (target: string) => {
      await rm(path('home/state'), { force: true });
      await symlink(target, path('home/state'));
      await lchown(path('home/state'), SOMEBODY, SOMEBODY);
    };
    const before = await readTree(path('etc'));
    await link(path('etc'));
    for (const target of [path('home/state'), path('home/state/new')]) {
      await expect(inPlace(there.blobs.connect(), target)).rejects.toMatchObject({ code: 'unsafe-target' });
      await expect(restoreJob(there.blobs.connect(), target)).rejects.toMatchObject({
        code: 'unsafe-target',
      });
    }
    expect(await readTree(path('etc'))).toEqual(before);
    await link(path('home/real'));
    expect(await inPlace(there.blobs.connect(), path('home/state'))).toMatchObject({ kind: 'restored' });
    expect(await readFile(path('home/real/ld.so.preload'), 'utf8')).toBe('evil');
    // One that only root can change is followed.
    await symlink(path('etc'), path('ours'));
    await restoreJob(there.blobs.connect(), path('ours/new'));
    expect(await readdir(path('etc/new'))).toEqual(['cron.d', 'ld.so.preload']);
  },
);

test('a file in the place of the target is named', async () => {
  await using there = await saved({});
  await using folder = await testFolder();
  await writeFile(join(folder.path, 'file'), 'precious');
  for (const target of ['file', 'file/below'])
    await expect(restoreJob(there.blobs.connect(), join(folder.path, target))).rejects.toMatchObject({
      code: 'unsafe-target',
    });
  expect(await readFile(join(folder.path, 'file'), 'utf8')).toBe('precious');
});

test('two restores into one folder at once: the second is refused, and the first is not disturbed', async () => {
  await using there = await saved({ a: { kind: 'file', content: 'a' } });
  await using to = await testFolder();
  const second: unknown[] = [];
  const packs = there.made.packsOf('a');
  const store = there.blobs.connect({
    async before({ name }) {
      if (!packs.includes(name)) return;
      second.push(await restoreJob(there.blobs.connect(), to.path).catch((error: unknown) => error));
    },
  });
  expect(await restoreJob(store, to.path)).toMatchObject({ files: 1 });
  expect(second).toEqual([expect.objectContaining({ code: 'restore-under-way' })]);
  expect(await readdir(to.path)).toEqual(['a']);
  expect(await restoreJob(there.blobs.connect(), to.path)).toMatchObject({ filesKept: 1 });
});

test('what somebody puts in the place of the lock is no way out, and does not hold it', async () => {
  await using there = await saved({ a: { kind: 'file', content: 'a' } });
  await using to = await testFolder();
  await using outside = await testFolder();
  await writeFile(join(outside.path, 'victim'), 'untouched');
  await symlink(join(outside.path, 'victim'), join(to.path, '.evictd-restore-0000000000000000'));
  await restoreJob(there.blobs.connect(), to.path);
  expect(await readdir(to.path)).toEqual(['a']);
  expect(await readFile(join(outside.path, 'victim'), 'utf8')).toBe('untouched');
});

test.skipIf(!isRoot)('set-user-ID is not given to a file by whoever may write the container', async () => {
  await using there = await saved({
    shell: { kind: 'file', content: '#!', mode: 0o755 },
    shared: { kind: 'folder', mode: 0o2775 },
  });
  const blobs = createMemoryBlobs();
  await makeCheckpoint(blobs, there.from.path, {
    change: (entries) => entries.map((entry) => (entry.type === 'file' ? { ...entry, mode: 0o6755 } : entry)),
  });
  await using to = await testFolder();
  const mode = async (name: string) => (await lstat(join(to.path, name))).mode & 0o7777;
  const { codes, onNote } = notes();
  await restoreJob(blobs.connect(), to.path, {}, { onNote });
  expect(await mode('shell')).toBe(0o755);
  expect(await mode('shared')).toBe(0o2775);
  expect(codes).toEqual(['set-id-dropped']);
  // Nor to one that is there and equal; but what it has, of the same owner, it keeps.
  await restoreJob(blobs.connect(), to.path);
  expect(await mode('shell')).toBe(0o755);
  await chmod(join(to.path, 'shell'), 0o6755);
  await restoreJob(blobs.connect(), to.path, {}, { onNote });
  expect(await mode('shell')).toBe(0o6755);
  expect(codes).toEqual(['set-id-dropped']);
});

test('links in the places of the marks are not written through', async () => {
  await using there = await saved({ a: { kind: 'file', content: 'a' } });
  await using to = await testFolder();
  await using outside = await testFolder();
  const victim = join(outside.path, 'victim');
  await writeFile(victim, 'untouched');
  for (const name of ['.evictd-restored', '.evictd-restoring']) await symlink(victim, join(to.path, name));
  await restoreJob(there.blobs.connect(), to.path, { durable: true, mark: { machine: 'm' } });
  expect(await readFile(victim, 'utf8')).toBe('untouched');
  expect(JSON.parse(await readFile(join(to.path, '.evictd-restored'), 'utf8'))).toMatchObject({
    machine: 'm',
  });
  expect(await readdir(to.path)).not.toContain('.evictd-restoring');
});

test.each(['.evictd-restored', '.evictd-restoring', 'dir/.evictd-restore-0123456789abcdef'])(
  'a checkpoint that has an entry %s is refused',
  async (path) => {
    await using there = await saved({ dir: { kind: 'folder' }, a: { kind: 'file', content: 'a' } });
    const blobs = createMemoryBlobs();
    await makeCheckpoint(blobs, there.from.path, {
      change: (entries) => entries.map((entry) => (entry.path === 'a' ? { ...entry, path } : entry)),
    });
    await using to = await testFolder();
    await expect(restoreJob(blobs.connect(), to.path)).rejects.toMatchObject({ code: 'bad-tree' });
  },
);

const ROUNDS_MIN = 20;
const LINKS_MIN = 20;

test.each(['a/b', 'a'])(
  'a workload that keeps swapping the folder %s for a link does not lead a restore outside',
  async (swapped) => {
    await using there = await saved({
      ...Object.fromEntries(
        Array.from({ length: 40 }, (_, i) => [`a/b/f${i}`, { kind: 'file' as const, content: `${i}` }]),
      ),
      'a/b/link': { kind: 'link', target: 'f1' },
      'a/b/deeper/victim': { kind: 'file', content: 'evil' },
    });
    await using field = await testFolder();
    const target = join(field.path, 'target');
    const outside = join(field.path, 'outside');
    await mkdir(join(target, 'a/b/deeper'), { recursive: true });
    await writeTree(outside, {
      'b/deeper': { kind: 'folder' },
      'deeper/victim': { kind: 'file', content: 'untouched' },
    });
    const before = await readTree(outside);
    const over = new AbortController();
    const links = { count: 0 };
    const swapping = keepSwapping(join(target, swapped), join(target, 'aside'), outside, links, over.signal);
    // On a busy machine several restores may fit between two swaps.
    for (let round = 0; round < ROUNDS_MIN || links.count < LINKS_MIN; round++) {
      const outcome = await restoreJob(there.blobs.connect(), target).catch((error: unknown) => error);
      if (outcome instanceof Error) expect(outcome).toBeInstanceOf(EvictdError);
    }
    over.abort();
    await swapping;
    expect(await readTree(outside)).toEqual(before);
    expect((await readdir(field.path)).toSorted()).toEqual(['outside', 'target']);
  },
);

/** Until the signal: now the folder is there, now a link; counts how often there was a link. */
async function keepSwapping(
  place: string,
  aside: string,
  outside: string,
  links: { count: number },
  signal: AbortSignal,
) {
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  while (!signal.aborted) {
    await attempt(() => rename(place, aside));
    if (await attempt(() => symlink(outside, place))) links.count++;
    await turn();
    await attempt(() => rm(place, { recursive: true }));
    await attempt(() => rename(aside, place));
    await turn();
  }
}

/** The restore works there too, so a step may find something else than the one before has left. */
async function attempt(step: () => Promise<unknown>): Promise<boolean> {
  try {
    await step();
    return true;
  } catch (error) {
    if (error instanceof Error && 'syscall' in error) return false;
    throw error;
  }
}

test.skipIf(!mayMount)(
  'a full disk is named with what is missing, leaves no partial file, and a rerun goes on from there',
  async () => {
    await using there = await saved({
      'a/first': { kind: 'file', content: pattern(9 * MIB, 1) },
      'b/second': { kind: 'file', content: pattern(9 * MIB, 2) },
      replaced: { kind: 'file', content: 'new' },
    });
    await using disk = await smallDisk(24 * MIB);
    await writeFile(join(disk.path, 'in-the-way'), pattern(10 * MIB, 3));
    await writeFile(join(disk.path, 'replaced'), 'old');
    await expect(restoreJob(there.blobs.connect(), disk.path)).rejects.toMatchObject({
      code: 'disk-full',
      message: expect.stringMatching(
        /^no space left while writing ".*".*: .* free in .*, up to .* still to come$/,
      ),
      remedy: expect.stringContaining('goes on from here'),
    });
    const names = await readdir(disk.path, { recursive: true });
    expect(names.filter((name) => name.includes('.evictd-restore'))).toEqual([]);
    expect(['old', 'new']).toContain(await readFile(join(disk.path, 'replaced'), 'utf8'));
    await rm(join(disk.path, 'in-the-way'));
    expect(await restoreJob(there.blobs.connect(), disk.path, { durable: true })).toMatchObject({ files: 3 });
    expect(await readTree(disk.path)).toEqual(await readTree(there.from.path));
  },
);

test.skipIf(!isRoot)('somebody who is not root restores what may be theirs', async () => {
  await using there = await saved({
    'd/secret': { kind: 'file', content: 'x', mode: 0o400, mtimeS: 1_600_000_000 },
    d: { kind: 'folder', mode: 0o500, mtimeS: 1_600_000_000 },
  });
  await using to = await testFolder();
  await chmod(to.path, 0o777);
  const { blobs } = there;
  expect(blobs.names().length).toBeGreaterThan(0);
  process.setegid?.(SOMEBODY);
  process.seteuid?.(SOMEBODY);
  try {
    await restoreJob(blobs.connect(), join(to.path, 'own'));
  } finally {
    process.seteuid?.(0);
    process.setegid?.(0);
  }
  expect(await lstat(join(to.path, 'own/d/secret'))).toMatchObject({ uid: SOMEBODY, gid: SOMEBODY });
  expect(await readTree(join(to.path, 'own'))).toEqual(await readTree(there.from.path));
});

test('a store that fails leaves no temporary files', async () => {
  await using there = await saved({
    a: { kind: 'file', content: pattern(3 * MIB) },
    b: { kind: 'file', content: 'b' },
  });
  await using to = await testFolder();
  const packs = there.made.packsOf('a');
  const store = there.blobs.connect({
    before({ name }) {
      if (packs.includes(name)) throw storeError('unavailable', 'no more');
    },
  });
  await expect(restoreJob(store, to.path)).rejects.toMatchObject({ code: 'unavailable' });
  expect(await readdir(to.path)).toEqual([]);
});
