import { mkdir, open, symlink, writeFile } from 'node:fs/promises';

import { expect, test, vi } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import type { Clock } from '../../src/base/clock.ts';
import { blockIdOf, newHashKey } from '../../src/checkpoint/block-id.ts';
import { blockMemory, contentIn, sharedMemory } from '../../src/checkpoint/block-memory.ts';
import { createReader } from '../../src/checkpoint/reader.ts';
import type { Reader } from '../../src/checkpoint/reader.ts';
import { pattern, testFolder } from '../support/file-tree.ts';

const MIB = 1024 ** 2;
const hashKey = newHashKey();

function threads(): unknown {
  return Reflect.get(process.report.getReport(), 'workers');
}

function disposable(clock: Clock = systemClock): Reader & Disposable {
  const reader = createReader({ clock });
  return { ...reader, [Symbol.dispose]: () => reader.close() };
}

test('a block comes with its id, and its content in the memory that was given', async () => {
  await using folder = await testFolder();
  using reader = disposable();
  const content = pattern(3 * MIB + 5);
  await writeFile(`${folder.path}/f`, content);
  await using file = await open(`${folder.path}/f`);
  const read = (position: number, length: number) =>
    reader.run({ kind: 'block', fd: file.fd, position, length, hashKey, memory: blockMemory(2 * MIB) });
  const [first, last, beyond] = await Promise.all([
    read(0, 2 * MIB),
    read(2 * MIB, MIB + 5),
    read(3 * MIB, MIB),
  ]);
  if (first?.kind !== 'block' || last?.kind !== 'block') throw new Error('no block');
  expect(first.id).toBe(blockIdOf(content.subarray(0, 2 * MIB), hashKey));
  expect(contentIn(first.memory, 0, 2 * MIB).equals(content.subarray(0, 2 * MIB))).toBe(true);
  expect(last.id).toBe(blockIdOf(content.subarray(2 * MIB), hashKey));
  expect(beyond).toMatchObject({ kind: 'short' });

  const lengths = [2 * MIB, MIB + 5, MIB];
  const hashed = await reader.run({ kind: 'hash', fd: file.fd, position: 0, lengths, hashKey });
  expect(hashed).toEqual({ kind: 'hashed', ids: [first.id, last.id, undefined] });
});

test('a block of zeros has the id of its zeros, whole, at an end and before something else', async () => {
  await using folder = await testFolder();
  using reader = disposable();
  const content = Buffer.concat([
    Buffer.alloc(2 * MIB),
    Buffer.alloc(MIB - 1),
    Buffer.from('x'),
    Buffer.alloc(777),
  ]);
  await writeFile(`${folder.path}/f`, content);
  await using file = await open(`${folder.path}/f`);
  for (const [position, length] of [
    [0, MIB],
    [MIB, MIB],
    [2 * MIB, MIB],
    [3 * MIB, 777],
  ] as const) {
    const memory = blockMemory(MIB);
    const block = await reader.run({ kind: 'block', fd: file.fd, position, length, hashKey, memory });
    if (block.kind !== 'block') throw new Error('no block');
    expect(block.id).toBe(blockIdOf(content.subarray(position, position + length), hashKey));
  }
});

test('a small file that holds still comes as a whole; any other one is left to more care', async () => {
  await using folder = await testFolder();
  using reader = disposable();
  const root = folder.path;
  await mkdir(`${root}/d`);
  await writeFile(`${root}/d/f`, 'content');
  await symlink('f', `${root}/d/link`);
  await symlink('d', `${root}/e`);
  const memory = sharedMemory(10);
  const read = (changes: object) =>
    reader.run({
      kind: 'file',
      root,
      path: 'd/f',
      changedBeforeMs: Date.now() + 60_000,
      memory,
      hashKey,
      ...changes,
    });
  const found = await read({});
  if (found.kind !== 'file') throw new Error(found.kind);
  expect(contentIn(memory, 0, 7).toString()).toBe('content');
  expect(found).toMatchObject({ id: blockIdOf(Buffer.from('content'), hashKey), stat: { size: 7 } });
  expect(await read({ memory: sharedMemory(6) })).toEqual({ kind: 'not-so', isBusy: false });
  expect(await read({ changedBeforeMs: 0 })).toEqual({ kind: 'not-so', isBusy: true });
  expect(await read({ path: 'd' })).toEqual({ kind: 'not-so', isBusy: false });
  expect(await read({ path: 'd/link' })).toMatchObject({ kind: 'failed', errno: 'ELOOP' });
  expect(await read({ path: 'e/f' })).toMatchObject({ kind: 'failed', errno: 'ENOTDIR' });
  expect(await read({ path: 'd/none' })).toMatchObject({ kind: 'failed', errno: 'ENOENT' });
});

test('of several small files those are left out that are not as they were, or not to be had so easily', async () => {
  await using folder = await testFolder();
  using reader = disposable();
  const root = folder.path;
  for (const name of ['one', 'grown', 'shrunk', 'empty', 'two']) await writeFile(`${root}/${name}`, name);
  await writeFile(`${root}/empty`, '');
  await symlink('one', `${root}/link`);
  await mkdir(`${root}/folder`);
  const paths = ['one', 'grown', 'none', 'shrunk', 'empty', 'link', 'folder', 'two'];
  const sizes = [3, 4, 2, 9, 0, 3, 3, 3];
  const memory = sharedMemory(100);
  const job = { kind: 'files', root, paths, sizes, memory, hashKey } as const;
  const found = await reader.run({ ...job, changedBeforeMs: Date.now() + 60_000 });
  if (found.kind !== 'files') throw new Error(found.kind);
  const ids = found.found.map((file) => file?.id);
  const [one, two] = ['one', 'two'].map((text) => blockIdOf(Buffer.from(text), hashKey));
  const none = undefined;
  expect(ids).toEqual([one, none, none, none, none, none, none, two]);
  expect(found.found.at(-1)?.stat).toMatchObject({ size: 3 });
  const contents = contentIn(memory, 0, 100);
  expect([contents.toString('latin1', 0, 3), contents.toString('latin1', 24, 27)]).toEqual(['one', 'two']);
  const busy = await reader.run({ ...job, changedBeforeMs: 0 });
  expect(busy).toEqual({ kind: 'files', found: paths.map(() => none) });
});

test('hundreds of files asked for at once are all answered, by threads that end when nothing is left to do', async () => {
  await using folder = await testFolder();
  const idle: (() => void)[] = [];
  const timer: Clock['timer'] = (_delay, fire) => {
    idle.push(fire);
    return { [Symbol.dispose]: () => undefined };
  };
  using reader = disposable({ ...systemClock, timer });
  const read = async (number: number) => {
    const path = String(number);
    await writeFile(`${folder.path}/${path}`, `file ${number}`);
    const size = `file ${number}`.length;
    const memory = sharedMemory(size);
    const changedBeforeMs = Date.now() + 60_000;
    const found = await reader.run({
      kind: 'file',
      root: folder.path,
      path,
      changedBeforeMs,
      memory,
      hashKey,
    });
    return found.kind === 'file' ? contentIn(memory, 0, size).toString() : found.kind;
  };
  const numbers = Array.from({ length: 300 }, (_, number) => number);
  expect(await Promise.all(numbers.map(read))).toEqual(numbers.map((number) => `file ${number}`));
  idle.at(-1)?.();
  expect(await read(1)).toBe('file 1');
});

test('what is under way when the threads end is rejected, and the next job starts new ones', async () => {
  await using folder = await testFolder();
  using reader = disposable();
  await writeFile(`${folder.path}/f`, 'x');
  const memory = sharedMemory(1);
  const read = () =>
    reader.run({
      kind: 'file',
      root: folder.path,
      path: 'f',
      changedBeforeMs: Date.now() + 60_000,
      memory,
      hashKey,
    });
  const first = read();
  // Given away at the end of this turn.
  await Promise.resolve();
  reader.close();
  await expect(first).rejects.toMatchObject({ code: 'reader-failed' });
  expect(await read()).toMatchObject({ kind: 'file' });
});

test('a few files are looked at without a thread, many with one', async () => {
  await using folder = await testFolder();
  using reader = disposable();
  await writeFile(`${folder.path}/f`, 'x');
  const list = { kind: 'list', root: folder.path, folders: [''] } as const;
  expect(await reader.run({ kind: 'look', root: folder.path, paths: ['f'] })).toMatchObject({
    kind: 'looked',
  });
  expect(await reader.run(list)).toEqual({ kind: 'listed', names: ['f'] });
  expect(threads()).toHaveLength(0);
  for (let file = 0; file < 500; file++) await writeFile(`${folder.path}/f${file}`, '');
  const listed = await reader.run(list);
  expect(listed.kind === 'listed' && listed.names[0]?.split('/')).toHaveLength(501);
  expect(threads()).toHaveLength(1);
});

test('what is small goes by one thread, unless that is slow; what is large by two', async () => {
  await using folder = await testFolder();
  await writeFile(`${folder.path}/f`, 'x');
  let nowMs = 0;
  using reader = disposable({ ...systemClock, monotonicMs: () => nowMs });
  const look = () =>
    reader.run({ kind: 'look', root: folder.path, paths: Array.from({ length: 500 }, () => 'f') });
  await Promise.all([look(), look()]);
  expect(threads()).toHaveLength(1);
  const first = look();
  // Given away at the end of this turn.
  await Promise.resolve();
  nowMs += 1000;
  await Promise.all([first, look()]);
  expect(threads()).toHaveLength(2);
});

test('no set waits for what is read of another one', async () => {
  await using one = await testFolder();
  await using other = await testFolder();
  using reader = disposable();
  const look = ({ path }: { path: string }) =>
    reader.run({ kind: 'look', root: path, paths: Array.from({ length: 500 }, () => 'f') });
  await Promise.all([look(one), look(other)]);
  expect(threads()).toHaveLength(2);
});

test('a thread that is started ahead keeps nothing waiting that is done without', async () => {
  await using folder = await testFolder();
  await writeFile(`${folder.path}/f`, 'x');
  using reader = disposable();
  reader.start();
  reader.start();
  expect(await reader.run({ kind: 'look', root: folder.path, paths: ['f'] })).toMatchObject({
    kind: 'looked',
  });
  await vi.waitFor(() => expect(threads()).toHaveLength(1));
});

test('threads that are told to rest end what is under way, and then they are gone', async () => {
  await using folder = await testFolder();
  using reader = disposable();
  const paths = Array.from({ length: 1000 }, (_, index) => `f${index}`);
  const look = () => reader.run({ kind: 'look', root: folder.path, paths });
  const first = look();
  await Promise.resolve();
  reader.rest();
  expect(await first).toMatchObject({ kind: 'looked' });
  expect(threads()).toHaveLength(1);
  reader.rest();
  await vi.waitFor(() => expect(threads()).toHaveLength(0));
  expect(await look()).toMatchObject({ kind: 'looked' });
});
