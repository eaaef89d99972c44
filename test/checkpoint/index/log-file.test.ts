import { mkdir, readFile, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';

import { expect, test } from 'vitest';

import { createLogFile, readLines } from '../../../src/checkpoint/index/log-file.ts';
import { testFolder } from '../../support/file-tree.ts';

async function linesOf(file: string): Promise<readonly (readonly [string, number])[]> {
  const lines: (readonly [string, number])[] = [];
  for await (const line of readLines(file)) lines.push(line);
  return lines;
}

const textsOf = async (file: string) => (await linesOf(file)).map(([line]) => line);

test('lines are read with the byte behind each, whatever their length, and half a line at the end is none', async () => {
  await using folder = await testFolder();
  const file = `${folder.path}/log`;
  // Below, at and above what is read at once; with characters of several bytes at the seams.
  const lines = ['', 'é'.repeat(524_287), 'x', 'y'.repeat(1024 ** 2), 'ü🙂'.repeat(400_000), ''];
  await writeFile(file, `${lines.join('\n')}\nhalf a li`);
  const found = await linesOf(file);
  expect(found.map(([line]) => line)).toEqual(lines);
  const bytes = await readFile(file);
  let start = 0;
  for (const [line, end] of found) {
    expect(bytes.subarray(start, end).toString()).toBe(`${line}\n`);
    start = end;
  }
});

test('a line without an end is given up before it takes all memory', async () => {
  await using folder = await testFolder();
  const file = `${folder.path}/log`;
  await writeFile(file, '');
  // Sparse: zeros, and none of them ends a line.
  await truncate(file, 80 * 1024 ** 2);
  await expect(linesOf(file)).rejects.toThrow('too long');
});

test('a link in its place is not followed, neither to read nor to write', async () => {
  await using folder = await testFolder();
  const file = `${folder.path}/log`;
  await writeFile(`${folder.path}/other`, 'of somebody else\n');
  await symlink('other', file);
  await expect(linesOf(file)).rejects.toMatchObject({ code: 'ELOOP' });
  await using log = disposable(createLogFile(file, 5));
  await expect(log.append(['x'])).rejects.toMatchObject({ code: 'ELOOP' });
  expect(log.isBroken).toBe(true);
  await log.replace(['mine']);
  expect(await readFile(`${folder.path}/other`, 'utf8')).toBe('of somebody else\n');
  expect(await textsOf(file)).toEqual(['mine']);
});

function disposable<T extends { close(): Promise<void> }>(log: T): T & AsyncDisposable {
  return Object.assign(log, { [Symbol.asyncDispose]: () => log.close() });
}

test('appends go behind what is whole, and stay when it is closed and used again', async () => {
  await using folder = await testFolder();
  const file = `${folder.path}/log`;
  await writeFile(file, 'one\ntwo\nhal');
  const log = createLogFile(file, 8);
  await log.append(['three']);
  await log.close();
  await log.append(['four']);
  await log.close();
  expect(await textsOf(file)).toEqual(['one', 'two', 'three', 'four']);
});

test('after a failure nothing is appended before all of it has been replaced', async () => {
  await using folder = await testFolder();
  const file = `${folder.path}/deep/log`;
  const log = createLogFile(file, 0);
  await expect(log.append(['lost'])).rejects.toMatchObject({ code: 'ENOENT' });
  await mkdir(`${folder.path}/deep`);
  await writeFile(file, '');
  await expect(log.append(['lost, too'])).rejects.toThrow('earlier');
  await Promise.all([log.replace(['a', 'b']), log.append(['c']), log.append(['d', 'e'])]);
  expect(await textsOf(file)).toEqual(['a', 'b', 'c', 'd', 'e']);
  await log.close();
});

test('what was replaced is the file that is appended to, also when the old one was open or moved away', async () => {
  await using folder = await testFolder();
  const file = `${folder.path}/log`;
  const log = createLogFile(file);
  expect(log.isBroken).toBe(true);
  await log.replace(['a']);
  await log.append(['b']);
  await log.replace(['c']);
  await log.append(['d']);
  expect(await textsOf(file)).toEqual(['c', 'd']);
  await rename(file, `${folder.path}/moved`);
  await rm(`${folder.path}/moved`);
  await log.replace(['e']);
  await log.append(['f']);
  expect(await textsOf(file)).toEqual(['e', 'f']);
  await log.close();
});
