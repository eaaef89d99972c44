import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { link, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';

import fc from 'fast-check';
import { describe, expect, onTestFinished, test } from 'vitest';

import { comparePaths } from '../../../src/checkpoint/format/path-order.ts';
import { testFolder, writeTree } from '../../support/file-tree.ts';
import type { TreeEntry } from '../../support/file-tree.ts';
import { mount } from './mounts.ts';
import { pathsOf, scan, scanners, threadScanner } from './scanners.ts';

const file: TreeEntry = { kind: 'file', content: '' };

describe('include and exclude', () => {
  const tree = {
    'a.tmp': file,
    'a.pt': file,
    'run/b.tmp': file,
    'run/b.pt': file,
    'run/cache/c.pt': file,
    'cache/d.pt': file,
    '.hidden/e.pt': file,
    'line\nbreak.pt': file,
    tmp: file,
    'x/tmp/f.pt': file,
  };
  const all = Object.keys(tree);
  test.each([
    [['**'], [], all],
    [['**'], ['*.tmp'], all.filter((path) => !path.endsWith('.tmp'))],
    [['**'], ['*.tmp', '!b.tmp'], all.filter((path) => path !== 'a.tmp')],
    [['**'], ['tmp/'], all.filter((path) => path !== 'x/tmp/f.pt')],
    [['**'], ['*', '!tmp/', '!x/'], []],
    [['**'], ['/*', '!/x'], ['x/tmp/f.pt']],
    [['*.pt'], ['cache', 'x'], ['a.pt', 'run/b.pt', '.hidden/e.pt', 'line\nbreak.pt']],
    [
      ['*.pt', '!a.*'],
      ['cache', 'x'],
      ['run/b.pt', '.hidden/e.pt', 'line\nbreak.pt'],
    ],
    [['*.pt'], ['/cache/', 'x'], ['a.pt', 'run/b.pt', 'run/cache/c.pt', '.hidden/e.pt', 'line\nbreak.pt']],
    [['run'], [], ['run/b.tmp', 'run/b.pt', 'run/cache/c.pt']],
    [['tmp/'], [], ['x/tmp/f.pt']],
    [['run/*.pt'], [], ['run/b.pt']],
    [['run/**/*.pt'], ['run/cache/**'], ['run/b.pt']],
    [['A.PT'], [], []],
    [[], [], []],
  ])('%j without %j', async (include, exclude, expected) => {
    await using folder = await testFolder();
    await writeTree(folder.path, tree);
    const { files } = await scan(folder.path, { include, exclude });
    expect(pathsOf(files).toSorted()).toEqual(expected.toSorted());
  });

  test('folders above something included come along, others do not', async () => {
    await using folder = await testFolder();
    await writeTree(folder.path, tree);
    const { directories } = await scan(folder.path, { include: ['c.pt'] });
    expect(pathsOf(directories)).toEqual(['run', 'run/cache']);
  });
});

test('links are kept as links, whether they lead inside, outside, in circles or nowhere', async () => {
  await using outside = await testFolder();
  await using folder = await testFolder();
  await writeFile(`${outside.path}/secret`, 'x');
  await writeTree(folder.path, { 'dir/f': file });
  await symlink(outside.path, `${folder.path}/out`);
  await symlink('.', `${folder.path}/dir/self`);
  await symlink('nowhere', `${folder.path}/broken`);
  const { files, symlinks, lost } = await scan(folder.path);
  expect(pathsOf(files)).toEqual(['dir/f']);
  expect(symlinks.map(({ path, target }) => [path, target])).toEqual([
    ['broken', 'nowhere'],
    ['dir/self', '.'],
    ['out', outside.path],
  ]);
  expect(lost.size).toBe(0);
});

test('sockets and pipes are left out and counted', async () => {
  await using folder = await testFolder();
  const server = createServer().listen(`${folder.path}/socket`);
  await once(server, 'listening');
  execFileSync('mkfifo', [`${folder.path}/pipe`]);
  const { files, specials } = await scan(folder.path);
  server.close();
  expect(files).toEqual([]);
  expect(specials).toBe(2);
});

test('the first name of a file stands for it', async () => {
  await using folder = await testFolder();
  await using elsewhere = await testFolder();
  await writeTree(folder.path, { 'b/one': file, c: file });
  await mkdir(`${folder.path}/a`);
  await link(`${folder.path}/b/one`, `${folder.path}/a-b`);
  await link(`${folder.path}/b/one`, `${folder.path}/a/z`);
  await link(`${folder.path}/c`, `${elsewhere.path}/c`);
  const { files, hardLinks } = await scan(folder.path);
  expect(pathsOf(files)).toEqual(['a/z', 'c']);
  expect(hardLinks).toMatchObject([
    { path: 'a-b', target: 'a/z' },
    { path: 'b/one', target: 'a/z' },
  ]);
});

test('a folder that is a file, or missing, is set-path-missing; a link to a folder is followed', async () => {
  await using folder = await testFolder();
  await writeTree(folder.path, { f: file, 'real/g': file });
  await expect(scan(`${folder.path}/f`)).rejects.toMatchObject({ code: 'set-path-missing' });
  await expect(scan(`${folder.path}/gone`)).rejects.toMatchObject({ code: 'set-path-missing' });
  await symlink('real', `${folder.path}/link`);
  expect(pathsOf((await scan(`${folder.path}/link`)).files)).toEqual(['g']);
});

test('a set that is half restored is not scanned; our own files are no part of it', async () => {
  await using folder = await testFolder();
  await writeTree(folder.path, {
    '.evictd-restored': file,
    'd/.evictd-restore-0123456789abcdef': file,
    'd/.evictd-restored': file,
  });
  expect(pathsOf((await scan(folder.path)).files)).toEqual(['d/.evictd-restored']);
  await writeFile(`${folder.path}/.evictd-restoring`, '');
  await expect(scan(folder.path)).rejects.toMatchObject({ code: 'restore-unfinished' });
});

test('all lists are in the order of paths, however much is looked at together', async () => {
  await using folder = await testFolder();
  const many = Array.from({ length: 2500 }, (_, number) => `n${String(number).padStart(4, '0')}`);
  const folders = Array.from({ length: 40 }, (_, number) => `m${String(number).padStart(2, '0')}`);
  const deep = folders.map((name) => `${name}/deep/f`);
  const paths = [...deep, ...many, 'm', 'm00-', 'm00.', 'm00/a', 'z'];
  await writeTree(folder.path, Object.fromEntries(paths.map((path) => [path, file])));
  const { files, directories, foldersChanged } = await scan(folder.path);
  expect(pathsOf(files)).toEqual(paths.toSorted(comparePaths));
  expect(pathsOf(directories)).toEqual(folders.flatMap((name) => [name, `${name}/deep`]));
  expect(foldersChanged).toEqual([]);
});

test('a list has the order of paths for any names', async () => {
  const name = fc.constantFrom(
    'a',
    'b',
    'a-',
    'a.',
    'a0',
    '\xff',
    '\xc3\xa9',
    '\xf0\x9f\x98\x80',
    '\xef\xbf\xbd',
    ' ',
    '!',
    '~',
  );
  const paths = fc.uniqueArray(
    fc.array(name, { minLength: 1, maxLength: 4 }).map((names) => names.join('/')),
    { maxLength: 30 },
  );
  await fc.assert(
    fc.asyncProperty(paths, async (some) => {
      await using folder = await testFolder();
      // What is a folder can't be a file too.
      const tree = some.filter((path) => !some.some((other) => other.startsWith(`${path}/`)));
      for (const path of tree) {
        const at = Buffer.from(`${folder.path}/${path}`, 'latin1');
        await mkdir(at.subarray(0, at.lastIndexOf('/')), { recursive: true });
        await writeFile(at, '');
      }
      const { files, directories } = await scan(folder.path);
      for (const list of [pathsOf(files), pathsOf(directories)]) {
        expect(list).toEqual([...new Set(list)].toSorted(comparePaths));
      }
      expect(files).toHaveLength(tree.length);
    }),
    { numRuns: 50 },
  );
});

test('names come back as their bytes are', async () => {
  await using folder = await testFolder();
  await writeTree(folder.path, {
    'caf\xe9': file,
    'caf\xc3\xa9': file,
    'line\nbreak': file,
    'd/\xff\xf0\x9f\x98\x80': file,
  });
  const { files } = await scan(folder.path);
  expect(pathsOf(files)).toEqual(['café', 'caf\udce9', 'd/\udcff😀', 'line\nbreak']);
});

test.for([
  [1900, 'as a thread does'],
  [200, 'without a thread'],
] as const)('a tree of %d levels, looked at %s', async ([levels, how]) => {
  const scanner = scanners[how];
  await using folder = await testFolder();
  // By steps, since no path may be so long that the system takes it; ext4 has an inode for each.
  execFileSync('perl', ['-e', `for (1..${levels}) { mkdir "d"; open(F, ">f"); chdir "d" or die }`], {
    cwd: folder.path,
  });
  const before = (await readdir('/proc/self/fd')).length;
  const jobs: number[] = [];
  const counted = {
    list: scanner.list,
    look: (job: Parameters<typeof scanner.look>[0]) => {
      jobs.push(Math.max(...job.paths.map((path) => path.split('/').length)));
      return scanner.look(job);
    },
  };
  const { files, directories, lost } = await scan(folder.path, {}, counted);
  expect([files.length, directories.length, lost.size]).toEqual([levels, levels, 0]);
  // But for the last looks at whether folders were changed, which are of many at once, no job has a long way to go.
  expect(Math.max(...jobs.slice(0, levels))).toBeLessThanOrEqual(17);
  expect(await readdir('/proc/self/fd')).toHaveLength(before);
});

test('folders of another disk are gone through, and named', async () => {
  await using folder = await testFolder();
  const other = await mkdtemp('/dev/shm/evictd-test-');
  onTestFinished(() => rm(other, { recursive: true }));
  await writeTree(other, { 'x/f': file });
  await writeTree(folder.path, { 'd/mnt': { kind: 'folder' }, f: file });
  await using mounted = await mount(['--bind', other], `${folder.path}/d/mnt`);
  if (mounted === undefined) return;
  const { files, devices } = await scan(folder.path);
  expect(pathsOf(files)).toEqual(['d/mnt/x/f', 'f']);
  expect(devices).toEqual(new Set([files[1]?.stat.dev, files[0]?.stat.dev]));
  expect(devices.size).toBe(2);
});

test('an abort ends the scan, and nothing stays open', async () => {
  await using folder = await testFolder();
  await writeTree(folder.path, { [`${'d/'.repeat(80)}f`]: file });
  const before = (await readdir('/proc/self/fd')).length;
  await expect(scan(folder.path, {}, threadScanner, AbortSignal.abort(new Error('stop')))).rejects.toThrow(
    'stop',
  );
  const controller = new AbortController();
  let jobs = 0;
  const stopping = {
    list: (job: Parameters<typeof threadScanner.list>[0]) => {
      if (jobs++ === 70) controller.abort(new Error('stop'));
      return threadScanner.list(job);
    },
    look: threadScanner.look,
  };
  await expect(scan(folder.path, {}, stopping, controller.signal)).rejects.toThrow('stop');
  expect(await readdir('/proc/self/fd')).toHaveLength(before);
});
