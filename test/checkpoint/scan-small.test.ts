import { execFileSync } from 'node:child_process';
import { mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { perform } from '../../src/checkpoint/read-thread.ts';
import { isSmall, scanSmall } from '../../src/checkpoint/scan-small.ts';
import { testFolder } from '../support/file-tree.ts';

test('what is seen without a thread is what a thread sees', async () => {
  await using folder = await testFolder();
  const root = folder.path;
  await mkdir(join(root, 'a/b/c'), { recursive: true });
  await mkdir(join(root, 'empty'));
  await mkdir(Buffer.concat([Buffer.from(`${root}/a/`), Buffer.of(0xff, 0x41)]));
  for (const file of ['f', 'a/f', 'a/b/f', 'a/b/c/é', 'a/z']) await writeFile(join(root, file), file);
  await symlink('a', join(root, 'link'));
  await symlink(Buffer.of(0xfe), join(root, 'odd-target'));
  execFileSync('mkfifo', [join(root, 'pipe')]);
  const list = {
    kind: 'list',
    root,
    folders: ['', 'a', 'a/b', 'a/b/c', 'a/\udcffA', 'empty', 'gone', 'f', 'link', 'link/b', 'a/b'],
  } as const;
  const look = {
    kind: 'look',
    root,
    paths: [
      'f',
      'a',
      'a/b',
      'a/b/c/é',
      'a/\udcffA',
      'a/z',
      'gone',
      'gone/f',
      'f/f',
      'link',
      'link/f',
      'odd-target',
      'pipe',
    ],
  } as const;
  for (const job of [list, look]) expect(await scanSmall(job)).toEqual(perform(job));
  expect(await scanSmall(look)).toMatchObject({
    targets: new Map([
      [9, 'a'],
      [11, '\udcfe'],
    ]),
  });
});

test('an error of the system is told with the path that has it, and no folder stays open', async () => {
  await using folder = await testFolder();
  const name = 'n'.repeat(256);
  await mkdir(join(folder.path, 'a/b'), { recursive: true });
  const before = await readdir('/proc/self/fd');
  for (const job of [
    { kind: 'list', root: folder.path, folders: ['a/b', `a/${name}`] },
    { kind: 'look', root: folder.path, paths: ['a/b', `a/b/${name}`] },
  ] as const) {
    const result = await scanSmall(job);
    expect(result).toMatchObject({ kind: 'failed', errno: 'ENAMETOOLONG' });
    expect(result).toMatchObject({ path: expect.stringContaining(name) });
  }
  expect(await readdir('/proc/self/fd')).toHaveLength(before.length);
});

test('many files are left to a thread', async () => {
  await using folder = await testFolder();
  const names = Array.from({ length: 401 }, (_, index) => `f${index}`);
  for (const name of names) await writeFile(join(folder.path, name), '');
  expect(await scanSmall({ kind: 'list', root: folder.path, folders: [''] })).toBeUndefined();
  expect(isSmall({ kind: 'look', root: folder.path, paths: names })).toBe(false);
  expect(isSmall({ kind: 'look', root: folder.path, paths: names.slice(1) })).toBe(true);
});
