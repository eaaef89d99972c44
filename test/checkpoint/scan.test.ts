import { once } from 'node:events';
import { createServer } from 'node:net';
import { symlink, writeFile } from 'node:fs/promises';

import { describe, expect, test } from 'vitest';

import { scanSet } from '../../src/checkpoint/scan.ts';
import { openSetFolder } from '../../src/checkpoint/set-folder.ts';
import { never, reader } from '../support/checkpoints.ts';
import { testFolder, writeTree, type TreeEntry } from '../support/file-tree.ts';

async function scan(path: string, include = ['**'], exclude: string[] = []) {
  const set = { name: 'job', path, include, exclude, priority: 50 };
  await using folder = await openSetFolder(set);
  return await scanSet(set, folder, reader, never());
}

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
  };
  test.each([
    [['**'], [], Object.keys(tree)],
    [['**'], ['*.tmp'], Object.keys(tree).filter((path) => !path.endsWith('.tmp'))],
    [['*.pt'], ['cache'], ['a.pt', 'run/b.pt', '.hidden/e.pt', 'line\nbreak.pt']],
    [['**'], ['/cache/', '*.tmp'], ['a.pt', 'run/b.pt', 'run/cache/c.pt', '.hidden/e.pt', 'line\nbreak.pt']],
    [['run'], [], ['run/b.tmp', 'run/b.pt', 'run/cache/c.pt']],
    [['run/*.pt'], [], ['run/b.pt']],
    [['run/**/*.pt'], ['run/cache/**'], ['run/b.pt']],
    [[], [], []],
  ])('%j without %j', async (include, exclude, expected) => {
    await using folder = await testFolder();
    await writeTree(folder.path, tree);
    const { files } = await scan(folder.path, include, exclude);
    expect(files.map(({ path }) => path).toSorted()).toEqual(expected.toSorted());
  });

  test('folders above something included come along, others do not', async () => {
    await using folder = await testFolder();
    await writeTree(folder.path, tree);
    const { directories } = await scan(folder.path, ['c.pt']);
    expect(directories.map(({ path }) => path)).toEqual(['run', 'run/cache']);
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
  const { files, symlinks } = await scan(folder.path);
  expect(files.map(({ path }) => path)).toEqual(['dir/f']);
  expect(symlinks.map(({ path, target }) => [path, target])).toEqual([
    ['broken', 'nowhere'],
    ['out', outside.path],
    ['dir/self', '.'],
  ]);
});

test('sockets are left out and counted', async () => {
  await using folder = await testFolder();
  const server = createServer().listen(`${folder.path}/socket`);
  await once(server, 'listening');
  const { files, specials } = await scan(folder.path);
  server.close();
  expect(files).toEqual([]);
  expect(specials).toBe(1);
});

test('a folder that is a file, or missing, is set-path-missing; a link to a folder is followed', async () => {
  await using folder = await testFolder();
  await writeTree(folder.path, { f: file, 'real/g': file });
  await expect(scan(`${folder.path}/f`)).rejects.toMatchObject({ code: 'set-path-missing' });
  await expect(scan(`${folder.path}/gone`)).rejects.toMatchObject({ code: 'set-path-missing' });
  await symlink('real', `${folder.path}/link`);
  expect((await scan(`${folder.path}/link`)).files.map(({ path }) => path)).toEqual(['g']);
});

test('the order is the same each time: folder by folder, however many entries are looked at together', async () => {
  await using folder = await testFolder();
  const many = Array.from({ length: 2500 }, (_, number) => `n${String(number).padStart(4, '0')}`);
  const folders = Array.from({ length: 40 }, (_, number) => `z${String(number).padStart(2, '0')}`);
  const deep = folders.map((name) => `${name}/deep/f`);
  await writeTree(folder.path, Object.fromEntries([...deep, ...many].map((path) => [path, file])));
  const { files, directories } = await scan(folder.path);
  expect(files.map(({ path }) => path)).toEqual([...many, ...deep]);
  expect(directories.map(({ path }) => path)).toEqual([...folders, ...folders.map((name) => `${name}/deep`)]);
});

test('names come back as their bytes are, in their order', async () => {
  await using folder = await testFolder();
  await writeTree(folder.path, {
    'caf\xe9': file,
    'caf\xc3\xa9': file,
    'line\nbreak': file,
    'd/\xff\xf0\x9f\x98\x80': file,
  });
  const { files } = await scan(folder.path);
  expect(files.map(({ path }) => path)).toEqual(['café', 'caf\udce9', 'line\nbreak', 'd/\udcff😀']);
});

test.runIf(process.getuid?.() !== 0)('a folder that may not be read is told by its name', async () => {
  await using folder = await testFolder();
  await writeTree(folder.path, { 'a/locked': { kind: 'folder', mode: 0 } });
  await expect(scan(folder.path)).rejects.toMatchObject({
    code: 'file-unreadable',
    message: expect.stringContaining('"a/locked"'),
  });
});

test('an abort ends the scan', async () => {
  await using folder = await testFolder();
  await writeTree(folder.path, { f: file });
  const set = { name: 'job', path: folder.path, include: ['**'], exclude: [], priority: 50 };
  await using open = await openSetFolder(set);
  await expect(scanSet(set, open, reader, AbortSignal.abort(new Error('stop')))).rejects.toThrow('stop');
});
