import { execFile } from 'node:child_process';
import {
  chmod,
  chown,
  link,
  lstat,
  mkdir,
  readFile,
  rm,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

import fc from 'fast-check';
import { expect, test } from 'vitest';

import { readTree, pattern, testFolder, writeTree } from '../../support/file-tree.ts';
import { makeCheckpoint } from '../../support/make-checkpoint.ts';
import type { Made } from '../../support/make-checkpoint.ts';
import { countCalls, createMemoryBlobs } from '../../support/memory-blobs.ts';
import { MIB, restoreJob, saved } from './rig.ts';

const run = promisify(execFile);

const ODD_NAMES = [
  'line\nbreak',
  '100%',
  '%41',
  'back\\slash',
  'trailing.',
  '...',
  ' blank ',
  '-rf',
  '"quoted"',
  '.hidden',
  // Bytes in latin1: UTF-8 in two forms of ü, and what is no UTF-8 at all.
  '\xc3\xbc',
  'u\xcc\x88',
  '\xff\xfe',
  '\xf0\x9f\x99\x82',
  '\xe2\x80\xa8',
  'x'.repeat(255),
  '\xff'.repeat(255),
];

test('all names that Linux allows come back, as files, folders and links', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  for (const name of ODD_NAMES) {
    await writeTree(from.path, {
      [name]: { kind: 'file', content: `content of ${name}`, mode: 0o604, mtimeS: 1_234_567_890.123456 },
    });
    const folder = Buffer.from(`${from.path}/folders/${name}`, 'latin1');
    await mkdir(folder, { recursive: true });
    await symlink(Buffer.from(name, 'latin1'), Buffer.concat([folder, Buffer.from('/link')]));
    await utimes(folder, 1_111_111_111, 1_111_111_111);
  }
  const blobs = createMemoryBlobs();
  await makeCheckpoint(blobs, from.path);
  expect(await restoreJob(blobs.connect(), to.path)).toMatchObject({ files: ODD_NAMES.length });
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});

const DENSE = { kind: 'file', content: pattern(9 * MIB + 17) } as const;

test.each([{ compress: false }, { compress: true }])(
  'content of all kinds comes back: %j',
  async (options) => {
    await using from = await testFolder();
    await using to = await testFolder();
    await writeTree(from.path, {
      empty: { kind: 'file', content: '' },
      small: { kind: 'file', content: 'small', mode: 0o640 },
      'a/dense': DENSE,
      'a/sparse': {
        kind: 'file',
        content: Buffer.concat([Buffer.alloc(3 * MIB), pattern(MIB), Buffer.alloc(5)]),
      },
      'a/zeros': { kind: 'file', content: Buffer.alloc(2 * MIB) },
      'b/same as a': { kind: 'file', content: 'small' },
      'b/empty folder': { kind: 'folder', mode: 0o711, mtimeS: 1_600_000_000 },
      // More chunks than an entry holds itself.
      'c/long': { kind: 'file', content: pattern(300 * 4096, 7) },
    });
    await link(join(from.path, 'small'), join(from.path, 'b/other name'));
    const blobs = createMemoryBlobs();
    await makeCheckpoint(blobs, from.path, { ...options, cut: { chunkBytes: 4096, packBytes: 256 * 1024 } });
    expect(blobs.names().filter((name) => name.includes('/packs/')).length).toBeGreaterThan(
      options.compress ? 1 : 30,
    );
    await restoreJob(blobs.connect(), to.path, { durable: true });
    expect(await readTree(to.path)).toEqual(await readTree(from.path));
    expect((await lstat(join(to.path, 'a/zeros'))).blocks).toBe(0);
    expect((await lstat(join(to.path, 'b/other name'))).ino).toBe((await lstat(join(to.path, 'small'))).ino);
  },
);

test('times come back to the nanosecond, before 1970 and far ahead, of files, folders and links', async () => {
  await using from = await testFolder();
  const times = new Map([
    ['new', 1_577_836_800_123_456_789n],
    ['before', -4_876_543_211n],
    ['long before', -2_000_000_000_000_000_001n],
    ['far', 4_102_444_800_000_000_007n],
  ]);
  for (const name of times.keys()) {
    await mkdir(join(from.path, `d ${name}`));
    await writeFile(join(from.path, `f ${name}`), 'x');
    await symlink('x', join(from.path, `l ${name}`));
  }
  const blobs = createMemoryBlobs();
  await makeCheckpoint(blobs, from.path, {
    change: (entries) =>
      entries.map((entry) =>
        entry.type === 'hardlink' ? entry : { ...entry, mtimeNs: times.get(entry.path.slice(2)) ?? 0n },
      ),
  });
  await using to = await testFolder();
  const found = async () => {
    const stats = new Map<string, bigint>();
    for (const name of times.keys())
      for (const kind of ['d', 'f', 'l'])
        stats.set(
          `${kind} ${name}`,
          (await lstat(join(to.path, `${kind} ${name}`), { bigint: true })).mtimeNs,
        );
    return stats;
  };
  const wanted = new Map(
    [...times].flatMap(([name, ns]) => ['d', 'f', 'l'].map((kind) => [`${kind} ${name}`, ns])),
  );
  await restoreJob(blobs.connect(), to.path);
  expect(await found()).toEqual(wanted);
  // What is there and has another time gets it back.
  for (const name of times.keys()) await utimes(join(to.path, `f ${name}`), 1, 1);
  expect(await restoreJob(blobs.connect(), to.path)).toMatchObject({ filesKept: 4, bytesFetched: 0 });
  expect(await found()).toEqual(wanted);
});

test('many small files take few requests, and no more open files than a process may have', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  for (let folder = 0; folder < 10; folder++) {
    await mkdir(join(from.path, `${folder}`));
    for (let file = 0; file < 300; file++)
      await writeFile(join(from.path, `${folder}/${file}`), `${folder} ${file}`);
  }
  const blobs = createMemoryBlobs();
  await makeCheckpoint(blobs, from.path);
  const store = blobs.connect();
  expect(await restoreJob(store, to.path)).toMatchObject({ files: 3000, filesKept: 0 });
  expect(countCalls(store, 'read', '/packs/')).toBeLessThan(20);
  expect(await readFile(join(to.path, '7/123'), 'utf8')).toBe('7 123');
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
});

test.skipIf(process.getuid?.() !== 0)('owners come back where we may set them', async () => {
  await using there = await saved({
    a: { kind: 'file', content: 'a' },
    d: { kind: 'folder' },
    l: { kind: 'link', target: 'a' },
  });
  const { from } = there;
  const blobs = createMemoryBlobs();
  for (const name of ['a', 'd']) await chown(join(from.path, name), 5001, 5002);
  await chown(from.path, 5003, 5004);
  await chmod(from.path, 0o2750);
  await makeCheckpoint(blobs, from.path);
  await using folder = await testFolder();
  const target = join(folder.path, 'new/one');
  await restoreJob(blobs.connect(), target);
  expect(await lstat(join(target, 'a'))).toMatchObject({ uid: 5001, gid: 5002 });
  expect(await lstat(join(target, 'd'))).toMatchObject({ uid: 5001, gid: 5002 });
  const root = await lstat(target);
  expect([root.uid, root.gid, root.mode & 0o7777]).toEqual([5003, 5004, 0o2750]);
});

test('a sparse file that was cut off on disk comes back whole', async () => {
  await using there = await saved({ a: { kind: 'file', content: Buffer.alloc(5 * MIB) } });
  await using to = await testFolder();
  await restoreJob(there.blobs.connect(), to.path);
  await truncate(join(to.path, 'a'), 10);
  await restoreJob(there.blobs.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(there.from.path));
});

test('without node:ffi all is the same, but for less than a microsecond', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, {
    'd/a': { kind: 'file', content: 'a', mode: 0o640, mtimeS: 1_600_000_000.123456 },
    'd/big': { kind: 'file', content: pattern(9 * MIB), mtimeS: -86_400 },
    'd/l': { kind: 'link', target: 'a' },
  });
  await utimes(join(from.path, 'd'), 1_500_000_000, 1_500_000_000);
  const script = new URL('plain-restore.ts', import.meta.url).pathname;
  const { stdout } = await run(process.execPath, ['--no-experimental-ffi', script, from.path, to.path]);
  expect(JSON.parse(stdout)).toMatchObject({ files: 2, filesKept: 2 });
  const { '.evictd-restored': mark, ...tree } = await readTree(to.path);
  expect(mark).toBeDefined();
  expect(tree).toEqual(await readTree(from.path));
});

const name = fc.constantFrom('a', 'b', 'c', '\xff', 'd\n', 'e.');
const path = fc.array(name, { minLength: 1, maxLength: 3 }).map((names) => names.join('/'));
const kind = fc.constantFrom('write', 'write', 'write', 'remove', 'folder', 'link', 'mode', 'grow', 'name');
const edit = fc.record({ kind, path, other: path, text: fc.string({ minLength: 1, maxLength: 20 }) });

/** Does what can be done: an edit that doesn't fit the tree as it is changes nothing. */
async function apply(
  root: string,
  one: { kind: string; path: string; other: string; text: string },
): Promise<void> {
  const at = Buffer.from(`${root}/${one.path}`, 'latin1');
  const edits: Record<string, () => Promise<unknown>> = {
    write: () => writeFile(at, one.text),
    remove: () => rm(at, { recursive: true }),
    folder: () => mkdir(at, { recursive: true }),
    link: () => symlink(one.text.replaceAll('\0', '0'), at),
    mode: () => chmod(at, 0o711),
    grow: () => writeFile(at, Buffer.concat([Buffer.alloc(3 * 4096), Buffer.from(one.text)])),
    name: () => link(Buffer.from(`${root}/${one.other}`, 'latin1'), at),
  };
  try {
    await mkdir(at.subarray(0, at.lastIndexOf('/')), { recursive: true });
    await edits[one.kind]?.();
  } catch (error) {
    if (!(error instanceof Error && 'syscall' in error)) throw error;
  }
}

test('after any edits, a restore of each checkpoint is its tree, into a new folder and over another one', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(edit, { maxLength: 12 }), { minLength: 1, maxLength: 4 }),
      async (rounds) => {
        await using from = await testFolder();
        await using over = await testFolder();
        const blobs = createMemoryBlobs();
        const trees = new Map<string, Record<string, string>>();
        let after: Made | undefined;
        for (const edits of rounds) {
          for (const one of edits) await apply(from.path, one);
          const cut = { chunkBytes: 4096, packBytes: 8192 };
          after = await makeCheckpoint(blobs, from.path, { cut, ...(after !== undefined && { after }) });
          trees.set(after.manifest.id, await readTree(from.path));
        }
        for (const [at, tree] of trees) {
          await using to = await testFolder();
          await restoreJob(blobs.connect(), to.path, { at });
          expect(await readTree(to.path)).toEqual(tree);
          // A folder in the place of a file, or the other way round, is left to the user.
          const outcome: unknown = await restoreJob(blobs.connect(), over.path, { at }).catch(
            (error: unknown) => error,
          );
          if (outcome instanceof Error) expect(outcome).toMatchObject({ code: 'unsafe-target' });
          else expect(await readTree(over.path)).toMatchObject(tree);
        }
      },
    ),
    { numRuns: 30 },
  );
}, 120_000);
