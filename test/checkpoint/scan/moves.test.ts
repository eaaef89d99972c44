import { link, lstat, mkdir, rename, rm, symlink, utimes, writeFile } from 'node:fs/promises';

import { expect, test } from 'vitest';

import type { LookJob } from '../../../src/checkpoint/scan/scan-job.ts';
import type { Scanner } from '../../../src/checkpoint/scan/walk/walk.ts';
import { testFolder, writeTree } from '../../support/file-tree.ts';
import { mount } from './mounts.ts';
import { disturbed, pathsOf, scan, threadScanner } from './scanners.ts';

/** Names of so many files. */
const MESSAGES = Array.from({ length: 600 }, (_, index) => `m${String(index).padStart(4, '0')}`);

async function makeQueue(root: string): Promise<void> {
  await mkdir(`${root}/cur`);
  await mkdir(`${root}/new`);
  for (const name of MESSAGES) await writeFile(`${root}/cur/${name}`, '');
  // A change from now on has another time than this.
  await utimes(`${root}/cur`, 1, 1);
  await utimes(`${root}/new`, 1, 1);
}

/** Moves of messages, and which of them a scan sees. */
test.for([
  ['from a folder that was seen to one that was not', 'cur', 'new'],
  ['from a folder that was not seen to one that was', 'new', 'cur'],
] as const)('what moves %s while it is looked at shows in both folders', async ([, from, to]) => {
  for (let instant = 0; instant < 12; instant++) {
    await using folder = await testFolder();
    await makeQueue(folder.path);
    if (from === 'new') {
      await rm(`${folder.path}/new`, { recursive: true });
      await rename(`${folder.path}/cur`, `${folder.path}/new`);
      await mkdir(`${folder.path}/cur`);
    }
    let moves = 0;
    const found = await scan(
      folder.path,
      {},
      disturbed(async (job) => {
        if (job !== instant) return;
        for (const name of MESSAGES.slice(0, 10))
          await rename(`${folder.path}/${from}/${name}`, `${folder.path}/${to}/${name}`);
        moves++;
      }),
    );
    if (moves === 0) return;
    const names = new Set(found.files.map(({ path }) => path.slice(4)));
    const isWhole = names.size === MESSAGES.length && found.files.length === MESSAGES.length;
    // Before the first look at the folders, and after the last one, nothing is amiss.
    if (isWhole && found.foldersChanged.length === 0) continue;
    expect(found.foldersChanged).toEqual(['cur', 'new']);
  }
});

test('a folder whose time was put back is changed all the same', async () => {
  await using folder = await testFolder();
  await writeTree(folder.path, {
    'd/a': { kind: 'file', content: '' },
    'e/b': { kind: 'file', content: '' },
  });
  await utimes(`${folder.path}/d`, 1, 1);
  const found = await scan(
    folder.path,
    {},
    disturbed(async (job) => {
      if (job !== 2) return;
      await writeFile(`${folder.path}/d/c`, '');
      await utimes(`${folder.path}/d`, 1, 1);
    }),
  );
  expect(found.foldersChanged).toEqual(['d']);
});

test.for([
  ['made', '.', async (root: string) => writeFile(`${root}/x`, '')],
  ['removed', '.', async (root: string) => rm(`${root}/e`, { recursive: true })],
  ['made in a folder', 'd', async (root: string) => writeFile(`${root}/d/x`, '')],
  [
    'replaced by a link',
    '.',
    async (root: string) => rm(`${root}/a`).then(async () => symlink('e', `${root}/a`)),
  ],
] as const)('something is %s', async ([, changed, change]) => {
  await using folder = await testFolder();
  await writeTree(folder.path, {
    a: { kind: 'file', content: '' },
    'd/a': { kind: 'file', content: '' },
    'e/b': { kind: 'file', content: '' },
  });
  await utimes(folder.path, 1, 1);
  await utimes(`${folder.path}/d`, 1, 1);
  // After the look at a, d and e.
  const found = await scan(
    folder.path,
    {},
    disturbed(async (job) => (job === 2 ? change(folder.path) : undefined)),
  );
  expect(found.foldersChanged).toContain(changed);
});

/** As of a file system whose folders never show a change. */
function timeless(scanner: Scanner): Scanner {
  return {
    ...scanner,
    async look(job: LookJob, signal) {
      const answer = await scanner.look(job, signal);
      if (answer.kind === 'failed') return answer;
      const fields = answer.stats.length / job.paths.length;
      for (const [index] of job.paths.entries()) {
        const isFolder = ((answer.stats[index * fields] ?? 0n) & 0o170000n) === 0o040000n;
        // Size, number of links, and times.
        if (isFolder) for (const field of [1, 4, 5, 6]) answer.stats[index * fields + field] = 1n;
      }
      return answer;
    },
  };
}

test('a file that is seen under two names, but has one, was moved, whatever the times of its folders say', async () => {
  await using folder = await testFolder();
  await writeTree(folder.path, {
    'a/1': { kind: 'file', content: '' },
    'b/2': { kind: 'file', content: '' },
    'c/deep/3': { kind: 'file', content: '' },
  });
  await link(`${folder.path}/b/2`, `${folder.path}/b/2nd`);
  const moving: Scanner = {
    ...threadScanner,
    async list(job) {
      // By now, all in a, b and c was looked at.
      if (job.folders.includes('c/deep')) {
        await rename(`${folder.path}/a/1`, `${folder.path}/c/deep/1`);
        await rename(`${folder.path}/b/2`, `${folder.path}/c/deep/2`);
      }
      return threadScanner.list(job);
    },
  };
  const found = await scan(folder.path, {}, timeless(moving));
  expect([...pathsOf(found.files), ...pathsOf(found.hardLinks)].toSorted()).toEqual([
    'a/1',
    'b/2',
    'b/2nd',
    'c/deep/1',
    'c/deep/2',
    'c/deep/3',
  ]);
  expect(found.foldersChanged).toEqual(['a', 'b', 'c/deep']);
  expect((await scan(folder.path, {}, timeless(threadScanner))).foldersChanged).toEqual([]);
});

test('what lies under two names all the time was not moved', async (context) => {
  await using folder = await testFolder();
  await writeTree(folder.path, { 'a/f': { kind: 'file', content: '' }, 'b/f': { kind: 'folder' } });
  await using mounted = await mount(['--bind', `${folder.path}/a`], `${folder.path}/b`);
  if (mounted === undefined) return context.skip('needs root');
  const found = await scan(folder.path);
  expect(pathsOf(found.files)).toEqual(['a/f', 'b/f']);
  expect((await lstat(`${folder.path}/a/f`)).ino).toBe((await lstat(`${folder.path}/b/f`)).ino);
  expect(found.foldersChanged).toEqual([]);
});

test('a name that is listed twice counts once', async () => {
  await using folder = await testFolder('/dev/shm');
  const churn = async () => {
    for (let round = 0; round < 40; round++) {
      await symlink('x', `${folder.path}/tmp`);
      await rename(`${folder.path}/tmp`, `${folder.path}/${MESSAGES[round * 7] ?? ''}`);
    }
  };
  for (const name of MESSAGES) await symlink('x', `${folder.path}/${name}`);
  for (let round = 0; round < 10; round++) {
    const [found] = await Promise.all([scan(folder.path), churn()]);
    const paths = pathsOf(found.symlinks);
    expect(new Set(paths).size).toBe(paths.length);
  }
});
