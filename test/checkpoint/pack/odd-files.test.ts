import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { renameSync, rmSync, symlinkSync, truncateSync } from 'node:fs';
import { chmod, mkdir, open, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { expect, test } from 'vitest';

import { isStored } from '../../../src/checkpoint/format/chunk.ts';
import type { ItemResult } from '../../../src/checkpoint/pack/sender.ts';
import { testFolder } from '../../support/file-tree.ts';
import { contentOf, CUT, KIB, never, noise, readOf, sendingRig, whole } from './pack-rig.ts';

const NOBODY = 65_534;

test('of a sparse file only what is data is read, however long it is', async () => {
  await using field = await sendingRig({}, { cut: { chunkBytes: 1024 * KIB, packBytes: 8192 * KIB } });
  const size = 13 * 1024 ** 4;
  const at = 5 * 1024 ** 4 + 1234;
  await using file = await open(field.at('f'), 'w');
  await file.truncate(size);
  await file.write('data', at);
  const [result] = await field.feed([whole('f', size)].map((item) => ({ ...item, size })));
  await field.sender.flush(never);
  const { chunks, bytesNew } = readOf(result);
  const chunkAt = at - (at % (1024 * KIB));
  expect(chunks).toEqual([
    { plain: chunkAt },
    expect.objectContaining({ plain: 1024 * KIB }),
    { plain: size - chunkAt - 1024 * KIB },
  ]);
  expect(bytesNew).toBe(1024 * KIB);
  const content = contentOf(field.blobs, chunks.slice(1, 2));
  expect(content.toString('latin1', 1234, 1238)).toBe('data');
  const [again] = await field.feed([whole('f', size, chunks)]);
  expect(readOf(again)).toMatchObject({ chunks, bytesNew: 0 });
});

test.for([
  [0, 3 * CUT.chunkBytes + 100],
  [100, 3 * CUT.chunkBytes],
  [3 * CUT.chunkBytes, 8 * CUT.chunkBytes + 1],
  [8 * CUT.chunkBytes, 8 * CUT.chunkBytes + 77],
] as const)('a file with data at byte %i that ends with a hole at %i', async ([at, size]) => {
  await using field = await sendingRig();
  const content = Buffer.alloc(size);
  const data = noise(Math.min(5000, size - at));
  content.set(data, at);
  await using file = await open(field.at('f'), 'w');
  await file.truncate(size);
  await file.write(data, 0, data.length, at);
  const results = await field.feed([
    whole('f', size),
    whole('f', size + 10),
    whole('f', Math.ceil(size / 2)),
  ]);
  await field.sender.flush(never);
  const [all, beyond, half] = results.map((result) => readOf(result).chunks);
  expect(contentOf(field.blobs, all ?? []).equals(content)).toBe(true);
  expect(contentOf(field.blobs, beyond ?? []).equals(content)).toBe(true);
  expect(contentOf(field.blobs, half ?? []).equals(content.subarray(0, Math.ceil(size / 2)))).toBe(true);
  let position = 0;
  for (const chunk of all ?? []) {
    if (isStored(chunk)) expect(position % CUT.chunkBytes).toBe(0);
    position += chunk.plain;
  }
});

test('zeros that are written are no data either', async () => {
  await using field = await sendingRig();
  await writeFile(field.at('f'), Buffer.alloc(5 * CUT.chunkBytes + 9));
  const [result] = await field.feed([whole('f', 5 * CUT.chunkBytes + 9)]);
  expect(readOf(result)).toMatchObject({ chunks: [{ plain: 5 * CUT.chunkBytes + 9 }], bytesNew: 0 });
});

test('what is no regular file any more is gone, and nothing waits for the other end of a pipe', async () => {
  await using field = await sendingRig();
  await mkdir(field.at('folder/below'), { recursive: true });
  await writeFile(field.at('file'), 'x');
  await symlink('file', field.at('link'));
  await symlink('folder', field.at('folder-link'));
  await writeFile(field.at('folder/f'), 'x');
  execFileSync('mkfifo', [field.at('fifo')]);
  const paths = [
    'none',
    'folder/none',
    'none/f',
    'file/f',
    'link',
    'folder-link/f',
    'fifo',
    'folder',
    'folder/below',
  ];
  const results = await field.feed(paths.map((path) => whole(path, 10)));
  expect(results).toEqual(paths.map(() => ({ kind: 'gone' })));
});

test('a link that takes the place of a folder while others have their turn is not followed', async () => {
  const secret = Buffer.from('the secret of somebody else');
  let isSwapped = false;
  await using field = await sendingRig({
    before() {
      if (isSwapped) return;
      isSwapped = true;
      renameSync(field.at('a'), field.at('moved'));
      symlinkSync('outside', field.at('a'));
    },
  });
  await mkdir(field.at('a'));
  await mkdir(field.at('outside'));
  const names = Array.from({ length: 400 }, (_, index) => `f${index}`);
  for (const name of names) {
    await writeFile(field.at(`a/${name}`), noise(16 * KIB));
    await writeFile(field.at(`outside/${name}`), secret);
  }
  const results = await field.feed(names.map((name) => whole(`a/${name}`, 16 * KIB)));
  expect(new Set(results.map(({ kind }) => kind))).toEqual(new Set(['read', 'gone']));
  await field.sender.flush(never);
  for (const name of field.blobs.names()) expect(field.blobs.content(name)?.includes(secret)).toBe(false);
});

test('a file that loses its name while it is read says so, one that is removed before is gone', async () => {
  let calls = 0;
  await using field = await sendingRig({
    before() {
      if (calls++ > 0) return;
      rmSync(field.at('f'));
      rmSync(field.at('g'));
    },
  });
  const size = 20 * CUT.packBytes;
  await writeFile(field.at('f'), noise(size));
  await writeFile(field.at('g'), 'x');
  const [first, second] = await field.feed([whole('f', size), whole('g', 1)]);
  await field.sender.flush(never);
  expect(readOf(first)).toMatchObject({ isUnlinked: true });
  expect(contentOf(field.blobs, readOf(first).chunks).equals(noise(size))).toBe(true);
  expect(second).toEqual({ kind: 'gone' });
});

test('names that are no text are read as well', async () => {
  await using field = await sendingRig();
  await writeFile(Buffer.from(field.at('odd\xff'), 'latin1'), 'x');
  const [result] = await field.feed([whole('odd\udcff', 1)]);
  expect(readOf(result).bytesNew).toBe(1);
});

test('a file that may not be read fails by itself', async () => {
  await using folder = await testFolder('/tmp');
  await chmod(folder.path, 0o755);
  await mkdir(join(folder.path, 'closed'), { mode: 0o700 });
  await writeFile(join(folder.path, 'closed/f'), 'x');
  await writeFile(join(folder.path, 'forbidden'), 'x', { mode: 0o600 });
  await writeFile(join(folder.path, 'open'), 'x');
  if (process.getuid?.() !== 0) {
    await chmod(join(folder.path, 'closed'), 0);
    await chmod(join(folder.path, 'forbidden'), 0);
  }
  const script = fileURLToPath(new URL('read-all.ts', import.meta.url));
  const output = execFileSync(process.execPath, [script, folder.path, 'open', 'forbidden', 'closed/f'], {
    ...(process.getuid?.() === 0 && { uid: NOBODY, gid: NOBODY }),
    env: {},
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  // What read-all.ts prints.
  const results = JSON.parse(output) as readonly ItemResult[];
  expect(results).toEqual([
    expect.objectContaining({ kind: 'read' }),
    { kind: 'failed', errno: 'EACCES', message: expect.stringContaining('permission denied') },
    { kind: 'failed', errno: 'EACCES', message: expect.stringContaining('permission denied') },
  ]);
});

// fcntl.h: F_SETLEASE, F_WRLCK. Whoever opens the file waits until the lease is given up, or gets EAGAIN.
const LEASE = `
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
fd = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(fd, 1024, 1)
print('leased', flush=True)
sys.stdin.read()
`;

test("a file that somebody has a lease on fails by itself, and isn't waited for", async () => {
  await using field = await sendingRig();
  await writeFile(field.at('leased'), 'x');
  await writeFile(field.at('free'), 'x');
  const holder = spawn('python3', ['-c', LEASE, field.at('leased')], { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(holder.stdout, 'data');
  const results = await field.feed([whole('leased', 1), whole('free', 1)]);
  holder.stdin.end();
  await once(holder, 'exit');
  expect(results).toEqual([
    { kind: 'failed', errno: 'EAGAIN', message: expect.any(String) },
    expect.objectContaining({ kind: 'read' }),
  ]);
});

test('a file that becomes shorter while it is read ends early', async () => {
  let calls = 0;
  await using field = await sendingRig({
    before() {
      if (calls++ === 0) truncateSync(field.at('f'), 6 * CUT.packBytes + 5);
    },
  });
  const size = 40 * CUT.packBytes;
  await writeFile(field.at('f'), noise(size));
  const [result] = await field.feed([whole('f', size)]);
  await field.sender.flush(never);
  const { chunks, before, after } = readOf(result);
  expect(after.size).toBeLessThan(before.size);
  expect(contentOf(field.blobs, chunks).equals(noise(6 * CUT.packBytes + 5))).toBe(true);
});
