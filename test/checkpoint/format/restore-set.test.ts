import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { newHashKey } from '../../../src/checkpoint/format/chunk-id.ts';
import type { Entry } from '../../../src/checkpoint/format/entry.ts';
import type { Takeover } from '../../../src/checkpoint/format/manifest.ts';
import { encodeSetEntry } from '../../../src/checkpoint/format/manifest-json.ts';
import { entryName, packName, PACKS } from '../../../src/checkpoint/format/names.ts';
import { decodePath, encodePath, fsPath } from '../../../src/base/files/path-name.ts';
import { CHUNK_BYTES, manifestOf, put, writeSet } from './set-folder.ts';
import type { Content, SetWriterOptions } from './set-folder.ts';
import { asTree, directoryOf, EPOCH, fileOf, PROCESS } from './tree-rig.ts';

const SCRIPT = fileURLToPath(new URL('../../../packaging/examples/restore_set.py', import.meta.url));
const MTIME_NS = 1_754_000_000_123_456_789n;

const OPTIONS: SetWriterOptions = { hash: { name: 'gmac-128', key: newHashKey() }, compress: false };
const execute = promisify(execFile);
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'restore-set-'));
});
// By the program, since node:fs knows no paths that are as long as some here.
afterEach(() => execute('rm', ['-rf', folder]));

async function run(
  ...more: string[]
): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
  return new Promise((resolve) => {
    execFile('python3', [SCRIPT, join(folder, 'set'), join(folder, 'target'), ...more], (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code), out, err });
    });
  });
}

const restored = (path: string) => fsPath(join(folder, 'target'), path);

function contentOf(entries: readonly Entry[], files: Readonly<Record<string, Buffer>>): Content {
  const more = Object.keys(files).map((path) => fileOf(path, [], MTIME_NS));
  return { entries: asTree([...entries, ...more]), files: new Map(Object.entries(files)) };
}

/** A set with everything that there is. */
function wholeSet(): Content {
  const sparse = Buffer.alloc(3 * 1024 ** 2);
  sparse.set(randomBytes(100), 1024 ** 2 + 5);
  // More chunks than one list holds, most of them holes.
  const long = Buffer.alloc(2100 * CHUNK_BYTES + 17);
  long.fill('some text that gets smaller. ', 100 * CHUNK_BYTES, 110 * CHUNK_BYTES);
  long.set(randomBytes(50 * CHUNK_BYTES), 2045 * CHUNK_BYTES);
  const entries: Entry[] = [
    { ...directoryOf('read-only'), mode: 0o555, mtimeNs: MTIME_NS },
    { ...fileOf('read-only/tool', [], -1n), mode: 0o4755 },
    { type: 'hardlink', path: 'read-only/z', target: 'a/text' },
    { ...directoryOf('link'), type: 'symlink', target: '../\udcfe/nowhere', mode: 0o777, mtimeNs: MTIME_NS },
  ];
  return contentOf(entries, {
    'a/text': Buffer.from('hello\n'.repeat(3000)),
    'a/random': randomBytes(10_001),
    'read-only/tool': randomBytes(10),
    'a/line\nbreak "quoted" \\': Buffer.from('odd'),
    [`bytes\udcff/${decodePath(Buffer.from([0xe6, 0x97, 0x20]))}`]: Buffer.from('no UTF-8'),
    '日本/🙂': Buffer.from('wide'),
    empty: Buffer.alloc(0),
    sparse,
    long,
  });
}

describe.each([
  ['gmac-128', false],
  ['gmac-128', true],
  ['sha256-128', true],
] as const)('a set whose ids are %s, compressed: %s', (name, compress) => {
  test('is restored as it was', async () => {
    const { entries, files } = wholeSet();
    await writeSet(
      join(folder, 'set'),
      '00000001',
      { entries, files },
      { hash: { name, key: newHashKey() }, compress },
    );
    const { code, out, err } = await run();
    expect(err).toBe('');
    expect(out).toContain(`${entries.length} entries restored, 0 left out`);
    expect(code).toBe(0);
    for (const entry of entries) {
      const { path } = entry;
      if (entry.type === 'hardlink') {
        const [its, other] = await Promise.all(
          [entry.path, entry.target].map((path) => lstat(restored(path))),
        );
        expect(its?.ino).toBe(other?.ino);
        continue;
      }
      const stat = await lstat(restored(path), { bigint: true });
      expect([path, stat.mtimeNs]).toEqual([path, entry.mtimeNs]);
      if (entry.type === 'symlink') {
        expect(await readlink(restored(path), 'buffer')).toEqual(encodePath(entry.target));
        continue;
      }
      expect(Number(stat.mode & 0o7777n)).toBe(entry.mode);
      if (process.getuid?.() === 0)
        expect([stat.uid, stat.gid]).toEqual([BigInt(entry.uid), BigInt(entry.gid)]);
      if (entry.type !== 'file') continue;
      const content = await readFile(restored(path));
      expect(createHash('sha256').update(content).digest('hex')).toBe(
        createHash('sha256')
          .update(files.get(path) ?? '')
          .digest('hex'),
      );
    }
    expect((await lstat(restored(''))).mode & 0o7777).toBe(0o710);
    expect((await lstat(restored('sparse'))).blocks * 512).toBeLessThan(1024 ** 2);
  });
});

test('a path may be as long as there can be', async () => {
  const path = `${`${'x'.repeat(255)}/`.repeat(15)}${'y'.repeat(255)}`;
  await writeSet(join(folder, 'set'), '00000001', contentOf([], { [path]: Buffer.from('deep') }), OPTIONS);
  expect(await run()).toMatchObject({ code: 0 });
  const found = await execute('find', ['target', '-name', 'y*', '-execdir', 'cat', '{}', ';'], {
    cwd: folder,
  });
  expect(found.stdout).toBe('deep');
});

test('the newest checkpoint is taken, or the one that is asked for, and never a takeover', async () => {
  await writeSet(join(folder, 'set'), '00000001', contentOf([], { a: Buffer.from('one') }), OPTIONS);
  await writeSet(join(folder, 'set'), '00000002', contentOf([], { a: Buffer.from('two') }), OPTIONS);
  const { id: _, ...head } = manifestOf('00000003', OPTIONS.hash, null);
  const { key, set, epoch, process, writer, createdAt } = head;
  const takeover: Takeover = {
    kind: 'takeover',
    id: '00000003',
    key,
    set,
    parent: null,
    epoch,
    process,
    writer,
    createdAt,
    adopts: null,
  };
  await put(join(folder, 'set'), entryName('00000003'), encodeSetEntry(takeover));
  expect((await run()).code).toBe(0);
  expect(await readFile(restored('a'), 'utf8')).toBe('two');
  await rm(join(folder, 'target'), { recursive: true });
  expect((await run('--at', '00000001')).code).toBe(0);
  expect(await readFile(restored('a'), 'utf8')).toBe('one');
  await rm(join(folder, 'target'), { recursive: true });
  expect(await run('--at', '00000003')).toMatchObject({
    code: 1,
    err: expect.stringContaining('no such checkpoint'),
  });
  expect(await run('--at', '00000004')).toMatchObject({
    code: 1,
    err: expect.stringContaining('no such checkpoint'),
  });
});

test('a folder that is not empty is left as it is', async () => {
  await writeSet(join(folder, 'set'), '00000001', contentOf([], { a: Buffer.from('one') }), OPTIONS);
  await mkdir(join(folder, 'target'));
  await writeFile(restored('mine'), 'mine');
  expect(await run()).toMatchObject({ code: 1, err: expect.stringContaining('not empty') });
  expect(await readdir(join(folder, 'target'))).toEqual(['mine']);
});

describe('what is damaged is named and left out, the rest is restored:', () => {
  test.each([false, true])('a changed byte, compressed: %s', async (compress) => {
    const content = contentOf([{ type: 'hardlink', path: 'c', target: 'a' }], {
      a: Buffer.from('one '.repeat(1000)),
      b: Buffer.from('two '.repeat(1000)),
    });
    await writeSet(join(folder, 'set'), '00000001', content, { ...OPTIONS, compress });
    const name = join(folder, 'set', PACKS, packName(EPOCH, PROCESS, 2));
    const pack = await readFile(name);
    pack[20] = (pack[20] ?? 0) ^ 1;
    await writeFile(name, pack);
    const { code, out, err } = await run();
    expect(code).toBe(1);
    expect(out).toContain('1 entries restored, 2 left out');
    expect(err).toContain("left out: 'a': the chunk at byte 0 of");
    expect(err).toContain("left out: 'c': ");
    expect(await readdir(join(folder, 'target'))).toEqual(['b']);
  });

  test('a pack that is missing', async () => {
    await writeSet(
      join(folder, 'set'),
      '00000001',
      contentOf([], { a: Buffer.from('one'), b: Buffer.alloc(0) }),
      OPTIONS,
    );
    await rm(join(folder, 'set', PACKS, packName(EPOCH, PROCESS, 2)));
    const { code, err } = await run();
    expect(code).toBe(1);
    expect(err).toMatch(/left out: 'a': .*No such file/);
    expect(await readdir(join(folder, 'target'))).toEqual(['b']);
  });

  test('a tree that is damaged ends it', async () => {
    await writeSet(join(folder, 'set'), '00000001', contentOf([], { a: Buffer.from('one') }), OPTIONS);
    const name = join(folder, 'set', PACKS, packName(EPOCH, PROCESS, 3));
    const pack = await readFile(name);
    pack[20] = (pack[20] ?? 0) ^ 1;
    await writeFile(name, pack);
    const { code, err } = await run();
    expect(code).toBe(1);
    expect(err).toMatch(/^restore_set\.py: the chunk at byte 0 of .* is not what its id says\n$/);
  });
});

test('nothing is written outside of the new folder, whatever the tree says', async () => {
  const outside = join(folder, 'outside');
  await mkdir(outside);
  const places = [
    ['', '/x-that-nobody-has'],
    ['', `${outside}/x`],
    [outside, 'x'],
    ['..', 'x'],
    ['../outside', 'x'],
    ['', '../outside/x'],
    ['', '..'],
    ['', '.'],
    ['', ''],
    ['link', 'x'],
    ['', 'link/x'],
    ['', 'a\0b'],
  ];
  const rows = [
    ['symlink', 0, 'link', 0, '1', outside],
    ...places.flatMap((_, index) => [
      ['file', index, places[index]?.[1], 0, '1'],
      ['directory', index, places[index]?.[1], 0, '1'],
    ]),
    ...['/etc/passwd', '/vmlinuz', 'link', '../set/checkpoints/00000001.json'].map((target) => [
      'hardlink',
      0,
      'h',
      target,
    ]),
  ];
  const folders = places.map(([folder]) => folder);
  const leaf = Buffer.from(
    JSON.stringify({ kind: 'leaf', packs: [], attributes: [[0o755, 0, 0]], folders, rows }),
  );
  await writeSet(join(folder, 'set'), '00000001', contentOf([], {}), OPTIONS, leaf);
  const { code, out } = await run();
  expect(code).toBe(1);
  expect(out).toContain(`1 entries restored, ${rows.length - 1} left out`);
  expect(await readdir(outside)).toEqual([]);
  expect(await readdir(join(folder, 'target'))).toEqual(['link']);
});
