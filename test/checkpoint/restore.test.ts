import { mkdir, readdir, readFile, rename, symlink, truncate, writeFile } from 'node:fs/promises';

import { expect, test } from 'vitest';

import { restore } from '../../src/checkpoint/restore.ts';
import type { Manifest } from '../../src/checkpoint/schema.ts';
import { committed, laterClock, never, PLACE, restoreJob, testCheckpointer } from '../support/checkpoints.ts';
import { changeFile, readTree, testFolder, writeTree } from '../support/file-tree.ts';
import { createMemoryService, storeError } from '../support/memory-store.ts';

const MIB = 1024 ** 2;
const MANIFEST = 'p/vm-1/job/checkpoints/00000001.json';

async function checkpointOf(tree: Parameters<typeof writeTree>[1]) {
  await using from = await testFolder();
  await writeTree(from.path, tree);
  const service = createMemoryService();
  await committed(testCheckpointer(service.connect(), from.path));
  return { service, tree: await readTree(from.path) };
}

test('identical files are kept, changed and missing ones are fetched, others are left alone', async () => {
  const { service, tree } = await checkpointOf({
    same: { kind: 'file', content: 'same' },
    'touched-only': { kind: 'file', content: 'content' },
    changed: { kind: 'file', content: 'before' },
    missing: { kind: 'file', content: 'missing' },
  });
  await using to = await testFolder();
  await restoreJob(service.connect(), to.path);
  expect(await restoreJob(service.connect(), to.path)).toMatchObject({ filesKept: 4, bytesFetched: 0 });
  await changeFile(`${to.path}/changed`, 'behind');
  await writeFile(`${to.path}/own`, 'not of the checkpoint');
  const result = await restoreJob(service.connect(), to.path);
  expect(result).toMatchObject({ files: 4, filesKept: 3, bytesFetched: 6 });
  const { own, ...rest } = await readTree(to.path);
  expect(own).toBeDefined();
  expect(rest).toEqual(tree);
});

test('a file with the right size and time but other content is fetched', async () => {
  const { service, tree } = await checkpointOf({
    a: { kind: 'file', content: 'right', mtimeS: 1_700_000_000 },
  });
  await using to = await testFolder();
  await writeTree(to.path, { a: { kind: 'file', content: 'wrong', mtimeS: 1_700_000_000 } });
  expect(await restoreJob(service.connect(), to.path)).toMatchObject({ filesKept: 0, bytesFetched: 5 });
  expect(await readTree(to.path)).toEqual(tree);
});

test('an older checkpoint comes back by its id, though all its files have changed since', async () => {
  await using from = await testFolder();
  await using to = await testFolder();
  await writeTree(from.path, { a: { kind: 'file', content: '1' }, b: { kind: 'file', content: '1' } });
  const service = createMemoryService();
  const checkpointer = testCheckpointer(service.connect(), from.path);
  await committed(checkpointer);
  const tree = await readTree(from.path);
  await changeFile(`${from.path}/a`, '2');
  await changeFile(`${from.path}/b`, '22');
  await committed(checkpointer);
  expect(await restoreJob(service.connect(), to.path, '00000001')).toMatchObject({ id: '00000001' });
  expect(await readTree(to.path)).toEqual(tree);
});

test.each([undefined, '00000009', '../../other', ''])(
  'without checkpoint %j there is nothing found',
  async (at) => {
    await using to = await testFolder();
    const service = createMemoryService();
    await expect(restoreJob(service.connect(), `${to.path}/new`, at)).rejects.toMatchObject({
      code: 'nothing-found',
    });
    expect(await readdir(to.path)).toEqual([]);
  },
);

test('a corrupt block is named with its file, and neither it nor a partial file is left in place', async () => {
  const { service } = await checkpointOf({
    'dir/big': { kind: 'file', content: Buffer.alloc(9 * MIB, 'x') },
  });
  service.corrupt('p/vm-1/job/files/dir/big', (content) => {
    content[5 * MIB] = 0;
    return content;
  });
  await using to = await testFolder();
  await mkdir(`${to.path}/dir`);
  await writeFile(`${to.path}/dir/big`, 'what was there before');
  const failure = await restoreJob(service.connect(), to.path).catch((error: unknown) => error);
  expect(failure).toMatchObject({
    code: 'corrupt-block',
    message: expect.stringMatching(/block 1 of "dir\/big"/),
  });
  expect(await readdir(`${to.path}/dir`)).toEqual(['big']);
  expect(await readFile(`${to.path}/dir/big`, 'utf8')).toBe('what was there before');
});

test('a snapshot that is shorter than its manifest says is a corrupt block', async () => {
  const { service } = await checkpointOf({ a: { kind: 'file', content: 'content' } });
  service.corrupt('p/vm-1/job/files/a', (content) => content.subarray(0, 3));
  await using to = await testFolder();
  await expect(restoreJob(service.connect(), to.path)).rejects.toMatchObject({ code: 'corrupt-block' });
  expect(await readdir(to.path)).toEqual([]);
});

test('a link in the target is never written through', async () => {
  const { service } = await checkpointOf({ 'dir/file': { kind: 'file', content: 'secret' } });
  await using outside = await testFolder();
  await using to = await testFolder();
  await symlink(outside.path, `${to.path}/dir`);
  await expect(restoreJob(service.connect(), to.path)).rejects.toMatchObject({ code: 'unsafe-target' });
  expect(await readdir(outside.path)).toEqual([]);
});

test('a link in the place of a file is replaced, not followed', async () => {
  const { service, tree } = await checkpointOf({ file: { kind: 'file', content: 'new' } });
  await using outside = await testFolder();
  await using to = await testFolder();
  await writeFile(`${outside.path}/victim`, 'untouched');
  await symlink(`${outside.path}/victim`, `${to.path}/file`);
  await restoreJob(service.connect(), to.path);
  expect(await readFile(`${outside.path}/victim`, 'utf8')).toBe('untouched');
  expect(await readTree(to.path)).toEqual(tree);
});

test('a link put into the target while a file is fetched does not lead it outside', async () => {
  const { service } = await checkpointOf({ 'dir/file': { kind: 'file', content: 'x' } });
  await using outside = await testFolder();
  await using to = await testFolder();
  const store = service.connect({
    async before(call) {
      if (call.operation !== 'download' || !call.name.endsWith('/dir/file')) return;
      await rename(`${to.path}/dir`, `${to.path}/moved`);
      await symlink(outside.path, `${to.path}/dir`);
    },
  });
  await expect(restoreJob(store, to.path)).rejects.toMatchObject({
    code: expect.stringMatching(/unsafe-target|file-failed/),
  });
  expect(await readdir(outside.path)).toEqual([]);
});

test('a store that fails in the middle leaves no temporary files', async () => {
  const { service } = await checkpointOf({
    a: { kind: 'file', content: Buffer.alloc(9 * MIB, 'a') },
    b: { kind: 'file', content: 'b' },
  });
  await using to = await testFolder();
  let reads = 0;
  const store = service.connect({
    before(call) {
      if (call.operation === 'download' && ++reads > 1) throw storeError('unavailable', 'no more');
    },
  });
  await expect(restoreJob(store, to.path)).rejects.toMatchObject({ code: 'unavailable' });
  expect((await readdir(to.path)).filter((name) => name.startsWith('.evictd'))).toEqual([]);
});

test('an abort ends the restore with its reason', async () => {
  const { service } = await checkpointOf({ a: { kind: 'file', content: 'a' } });
  await using to = await testFolder();
  const abort = new AbortController();
  const store = service.connect({
    before(call) {
      if (call.operation === 'download' && call.name.endsWith('/a'))
        abort.abort(storeError('aborted', 'stop'));
    },
  });
  const work = restore({ ...PLACE, target: to.path }, { store, clock: laterClock }, abort.signal);
  await expect(work).rejects.toMatchObject({ code: 'aborted' });
  expect(await readdir(to.path)).toEqual([]);
});

test('progress ends at the whole', async () => {
  const { service } = await checkpointOf({ a: { kind: 'file', content: Buffer.alloc(5 * MIB, 'a') } });
  await using to = await testFolder();
  const seen: object[] = [];
  const store = service.connect();
  await restore(
    { ...PLACE, target: to.path },
    { store, clock: laterClock, onProgress: (progress) => seen.push(progress) },
    never(),
  );
  const total = 5 * MIB;
  expect(seen.at(-1)).toEqual({
    files: 1,
    filesTotal: 1,
    bytes: total,
    bytesTotal: total,
    bytesFetched: total,
  });
});

type Change = (manifest: Manifest) => unknown;
const first = <T>(items: readonly T[]): T => {
  const [item] = items;
  if (item === undefined) throw new Error('nothing there');
  return item;
};
const hostile: [string, Change][] = [
  ['a path that climbs out', (m) => (first(m.files).path = '../evil')],
  ['a path that climbs out further in', (m) => (first(m.files).path = 'dir/../../evil')],
  ['an absolute path', (m) => (first(m.files).path = '/tmp/evil')],
  ['a path with a NUL', (m) => (first(m.files).path = 'dir/a\0b')],
  ['an empty segment', (m) => (first(m.files).path = 'dir//a')],
  ['a dot', (m) => (first(m.files).path = 'dir/./a')],
  ['a lone surrogate that is no byte', (m) => (first(m.files).path = 'dir/\ud800')],
  ['another spelling of the same bytes', (m) => (first(m.files).path = 'dir/\udcc3\udca9')],
  ['a name that is too long', (m) => (first(m.files).path = `dir/${'x'.repeat(256)}`)],
  ['a path twice', (m) => m.files.push({ ...first(m.files) })],
  [
    'a file below a link',
    (m) => (
      m.symlinks.push({ path: 'l', target: '/etc', uid: 0, gid: 0 }),
      (first(m.files).path = 'l/passwd')
    ),
  ],
  ['a file below a file', (m) => m.files.push({ ...first(m.files), path: `${first(m.files).path}/x` })],
  ['a file in a folder that is not named', (m) => (first(m.files).path = 'other/a')],
  ['more blocks than its size says', (m) => first(m.files).blocks.push(first(first(m.files).blocks))],
  ['a size that is not whole', (m) => (first(m.files).size = 1.5)],
  ['a negative size', (m) => (first(m.files).size = -1)],
  ['a size without blocks', (m) => (first(m.files).size = 2 ** 50)],
  ['a block size of nothing', (m) => (first(m.files).blockSize = 0)],
  ['a block size larger than memory', (m) => (first(m.files).blockSize = 2 ** 40)],
  ['a hash that is none', (m) => (first(m.files).blocks[0] = 'x')],
  ['a mode that is none', (m) => (first(m.files).mode = 0o200000)],
  ['a blob of somebody else', (m) => (first(m.files).blob = '../../other/files/a')],
  ['a time that is none', (m) => (first(m.files).mtimeNs = 'yesterday')],
  ['another id', (m) => (m.id = '00000007')],
  ['another set', (m) => (m.set = 'other')],
  ['no files', (m) => Reflect.deleteProperty(m, 'files')],
  ['files that are no list', (m) => Reflect.set(m, 'files', { length: 1 })],
  ['a link with a NUL', (m) => m.symlinks.push({ path: 'l', target: 'a\0b', uid: 0, gid: 0 })],
];

test.each(hostile)(
  'a manifest with %s is refused and named, and nothing is written',
  async (_what, change) => {
    const { service } = await checkpointOf({ 'dir/a': { kind: 'file', content: 'a' } });
    service.corrupt(MANIFEST, (content) => {
      // Written by evictd a moment ago.
      const manifest = JSON.parse(content.toString()) as Manifest;
      change(manifest);
      return Buffer.from(JSON.stringify(manifest));
    });
    await using to = await testFolder();
    const target = `${to.path}/target`;
    await expect(restoreJob(service.connect(), target)).rejects.toMatchObject({
      code: 'bad-manifest',
      message: expect.stringContaining(MANIFEST),
    });
    expect(await readdir(to.path)).toEqual([]);
  },
);

test.each(['', 'null', '[]', '{"version":2}', '{"version":3}', 'not json', '\xff\xfe'])(
  'a manifest that is %j is refused',
  async (text) => {
    const { service } = await checkpointOf({});
    service.corrupt(MANIFEST, () => Buffer.from(text, 'latin1'));
    await using to = await testFolder();
    await expect(restoreJob(service.connect(), to.path)).rejects.toMatchObject({ code: 'bad-manifest' });
  },
);

test('a manifest of a later version says what is needed', async () => {
  const { service } = await checkpointOf({});
  service.corrupt(MANIFEST, () => Buffer.from('{"version":4}'));
  await using to = await testFolder();
  await expect(restoreJob(service.connect(), to.path)).rejects.toMatchObject({ code: 'manifest-version' });
});

test('a sparse file that was cut off on disk comes back whole', async () => {
  const { service, tree } = await checkpointOf({ a: { kind: 'file', content: Buffer.alloc(5 * MIB) } });
  await using to = await testFolder();
  await restoreJob(service.connect(), to.path);
  await truncate(`${to.path}/a`, 10);
  await restoreJob(service.connect(), to.path);
  expect(await readTree(to.path)).toEqual(tree);
});
