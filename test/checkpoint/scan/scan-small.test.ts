import { execFileSync } from 'node:child_process';
import { mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { listSmall, lookSmall } from '../../../src/checkpoint/scan/scan-small.ts';
import { listFolders, lookAt, namesTogether, unpack } from '../../../src/checkpoint/scan/scan-thread.ts';
import { testFolder } from '../../support/file-tree.ts';

const LONG = 'n'.repeat(256);

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
  // Node takes times before 1970 for now.
  execFileSync('touch', ['-d', '1960-01-01 UTC', join(root, 'a/z')]);
  const folders = [
    '',
    'a',
    'a/b',
    'a/b/c',
    'a/\udcffA',
    'empty',
    'gone',
    'f',
    'link',
    'link/b',
    `a/${LONG}`,
    'a/b',
  ];
  const paths = [
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
    `a/${LONG}`,
    `a/${LONG}/f`,
  ];
  const before = await readdir('/proc/self/fd');
  const listed = listFolders({ root, folders });
  expect(await listSmall({ root, folders })).toEqual(listed);
  const gone = expect.objectContaining({ errno: 'gone' });
  expect(listed.names).toEqual([
    'a/empty/f/link/odd-target/pipe',
    'b/f/z/\udcffA',
    'c/f',
    'é',
    '',
    '',
    gone,
    gone,
    gone,
    gone,
    expect.objectContaining({ errno: 'ENAMETOOLONG', message: 'ENAMETOOLONG: name too long, open' }),
    'c/f',
  ]);
  const looked = lookAt({ root, paths });
  expect(await lookSmall({ root, paths })).toEqual(looked);
  expect(looked.targets).toEqual(
    new Map([
      [9, 'a'],
      [11, '\udcfe'],
    ]),
  );
  expect([...looked.failures].map(([index, { errno }]) => [paths[index], errno])).toEqual([
    ['gone', 'gone'],
    ['gone/f', 'gone'],
    ['f/f', 'gone'],
    ['link/f', 'gone'],
    [`a/${LONG}`, 'ENAMETOOLONG'],
    [`a/${LONG}/f`, 'ENAMETOOLONG'],
  ]);
  expect(unpack(looked.stats, 5)?.mtimeNs).toBe(BigInt(Date.parse('1960-01-01')) * 1_000_000n);
  expect(await readdir('/proc/self/fd')).toHaveLength(before.length);
});

test('names are in the order of their bytes, and each is there once', () => {
  // As readdir may answer while a name is put anew.
  expect(namesTogether(['b', '\xc3\xa9', 'a', '\xff', 'b', 'a'])).toBe('a/b/é/\udcff');
});

test('many files are left to a thread', async () => {
  await using folder = await testFolder();
  const paths = Array.from({ length: 401 }, (_, index) => `f${index}`);
  for (const path of paths) await writeFile(join(folder.path, path), '');
  expect(await listSmall({ root: folder.path, folders: [''] })).toBeUndefined();
  expect(await lookSmall({ root: folder.path, paths })).toBeUndefined();
  expect(await lookSmall({ root: folder.path, paths: paths.slice(1) })).toBeDefined();
});
