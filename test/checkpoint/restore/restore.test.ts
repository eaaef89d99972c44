import { mkdir, readdir, readFile, rename, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { changeFile, pattern, readTree, testFolder, writeTree } from '../../support/file-tree.ts';
import { makeCheckpoint, makeTakeover, PREFIX } from '../../support/make-checkpoint.ts';
import { countCalls, createMemoryBlobs, storeError } from '../../support/memory-blobs.ts';
import { MIB, notes, restoreJob, saved } from './rig.ts';

test('identical files are kept, changed and missing ones are fetched, others are left alone', async () => {
  await using there = await saved({
    same: { kind: 'file', content: 'same' },
    'touched-only': { kind: 'file', content: 'content' },
    changed: { kind: 'file', content: 'before' },
    missing: { kind: 'file', content: 'missing' },
  });
  const { blobs, from } = there;
  await using to = await testFolder();
  await restoreJob(blobs.connect(), to.path);
  expect(await restoreJob(blobs.connect(), to.path)).toMatchObject({ filesKept: 4, bytesFetched: 0 });
  await changeFile(join(to.path, 'changed'), 'behind');
  await writeFile(join(to.path, 'own'), 'not of the checkpoint');
  const result = await restoreJob(blobs.connect(), to.path);
  expect(result).toMatchObject({ files: 4, filesKept: 3, bytesFetched: 6 });
  const { own, ...rest } = await readTree(to.path);
  expect(own).toBeDefined();
  expect(rest).toEqual(await readTree(from.path));
});

test('a file with the right size and time but other content is fetched', async () => {
  await using there = await saved({ a: { kind: 'file', content: 'right', mtimeS: 1_700_000_000 } });
  await using to = await testFolder();
  await writeTree(to.path, { a: { kind: 'file', content: 'wrong', mtimeS: 1_700_000_000 } });
  expect(await restoreJob(there.blobs.connect(), to.path)).toMatchObject({ filesKept: 0, bytesFetched: 5 });
  expect(await readTree(to.path)).toEqual(await readTree(there.from.path));
});

test('an older checkpoint comes back by its id; without, the newest does, through what a takeover left', async () => {
  await using there = await saved({ a: { kind: 'file', content: '1' }, b: { kind: 'file', content: '1' } });
  const { blobs, from, made } = there;
  const older = await readTree(from.path);
  await changeFile(join(from.path, 'a'), '22');
  const second = await makeCheckpoint(blobs, from.path, { after: made });
  expect(second.packsOf('b')).toEqual(made.packsOf('b'));
  const takeover = await makeTakeover(blobs, second);
  await using to = await testFolder();
  expect(await restoreJob(blobs.connect(), to.path, { at: '00000001' })).toMatchObject({ id: '00000001' });
  expect(await readTree(to.path)).toEqual(older);
  expect(await restoreJob(blobs.connect(), to.path)).toMatchObject({ id: '00000002', bytesFetched: 2 });
  expect(await readTree(to.path)).toEqual(await readTree(from.path));
  await expect(restoreJob(blobs.connect(), to.path, { at: takeover })).rejects.toMatchObject({
    code: 'nothing-found',
  });
});

test.each([undefined, '00000009', '../../other', ''])(
  'without checkpoint %j there is nothing found',
  async (at) => {
    await using to = await testFolder();
    const blobs = createMemoryBlobs();
    const work = restoreJob(blobs.connect(), join(to.path, 'new'), at === undefined ? {} : { at });
    await expect(work).rejects.toMatchObject({ code: 'nothing-found' });
    expect(await readdir(to.path)).toEqual([]);
  },
);

test('a chunk that is not what it should be is named with its file, and the file stays as it was', async () => {
  await using there = await saved({ 'dir/big': { kind: 'file', content: pattern(9 * MIB) } });
  const [pack = ''] = there.made.packsOf('dir/big');
  there.blobs.corrupt(pack, (content) => (content.set([99], 5 * MIB + 1), content));
  await using to = await testFolder();
  await mkdir(join(to.path, 'dir'));
  await writeFile(join(to.path, 'dir/big'), 'what was there before');
  await expect(restoreJob(there.blobs.connect(), to.path)).rejects.toMatchObject({
    code: 'corrupt-chunk',
    message: expect.stringMatching(/chunk 5 of "dir\/big" \(.*packs\/.*byte 5242880\)/),
  });
  expect(await readdir(join(to.path, 'dir'))).toEqual(['big']);
  expect(await readFile(join(to.path, 'dir/big'), 'utf8')).toBe('what was there before');
});

test('what is complete when something fails needn’t be fetched again', async () => {
  await using there = await saved({
    a: { kind: 'file', content: pattern(9 * MIB, 1) },
    b: { kind: 'file', content: pattern(9 * MIB, 2) },
  });
  await using to = await testFolder();
  const [pack = ''] = there.made.packsOf('b').slice(-1);
  let reads = 0;
  const store = there.blobs.connect({
    before(call) {
      if (call.operation === 'read' && call.name === pack && ++reads > 0)
        throw storeError('unavailable', 'no more');
    },
  });
  await expect(restoreJob(store, to.path)).rejects.toMatchObject({ code: 'unavailable' });
  expect((await readdir(to.path)).filter((name) => name.startsWith('.evictd'))).toEqual([]);
  expect(await restoreJob(there.blobs.connect(), to.path)).toMatchObject({ files: 2 });
  expect(await readTree(to.path)).toEqual(await readTree(there.from.path));
});

test('an abort ends the restore with its reason, and leaves nothing', async () => {
  await using there = await saved({ a: { kind: 'file', content: 'a' } });
  await using to = await testFolder();
  const abort = new AbortController();
  const store = there.blobs.connect({
    before(call) {
      if (there.made.packsOf('a').includes(call.name)) abort.abort(storeError('aborted', 'stop'));
    },
  });
  await expect(restoreJob(store, to.path, {}, {}, abort.signal)).rejects.toMatchObject({ code: 'aborted' });
  expect(await readdir(to.path)).toEqual([]);
  expect(there.blobs.names().filter((name) => name.includes('/holds/'))).toEqual([]);
});

test('progress ends at the whole, and each file is told with what it holds', async () => {
  await using there = await saved({
    a: { kind: 'file', content: pattern(5 * MIB) },
    'd/b': { kind: 'file', content: Buffer.alloc(MIB) },
  });
  await using to = await testFolder();
  const seen: object[] = [];
  const told = new Map<string, unknown>();
  for (const round of [1, 2]) {
    told.clear();
    await restoreJob(
      there.blobs.connect(),
      to.path,
      {},
      {
        onProgress: (progress) => void seen.push(progress),
        onRestored: (path, { stat, chunks, how }) => void told.set(path, { size: stat.size, chunks, how }),
      },
    );
    const total = 6 * MIB;
    const [bytesFetched, how] = round === 1 ? [5 * MIB, 'fetched'] : [0, 'kept'];
    expect(seen.at(-1)).toEqual({ files: 2, filesTotal: 2, bytes: total, bytesTotal: total, bytesFetched });
    for (const entry of there.made.entries) {
      if (entry.type === 'file')
        expect(told.get(entry.path)).toEqual({ size: entry.size, chunks: entry.chunks, how });
    }
  }
});

test.each([
  ['', 'bad-manifest'],
  ['null', 'bad-manifest'],
  ['{"version":0}', 'bad-manifest'],
  ['not json', 'bad-manifest'],
  ['{"version":99}', 'manifest-version'],
])('a manifest that is %j is refused and named', async (text, code) => {
  await using there = await saved({});
  there.blobs.corrupt(there.made.name, () => Buffer.from(text, 'latin1'));
  await using to = await testFolder();
  await expect(restoreJob(there.blobs.connect(), join(to.path, 'new'))).rejects.toMatchObject({
    code,
    message: expect.stringContaining(there.made.name),
  });
  expect(await readdir(to.path)).toEqual([]);
});

test('a piece of the tree that was changed is found before anything is touched', async () => {
  await using there = await saved({ a: { kind: 'file', content: 'a' } });
  const [meta] = there.made.manifest.metadata;
  there.blobs.corrupt(`${PREFIX}packs/${meta?.name}`, (content) => (content.set([1, 2, 3], 10), content));
  await using to = await testFolder();
  await expect(restoreJob(there.blobs.connect(), join(to.path, 'new'))).rejects.toMatchObject({
    code: 'bad-tree',
    message: expect.stringContaining(`packs/${meta?.name}`),
  });
});

test('a link in the target is never written through, and one in the place of a file is replaced', async () => {
  await using there = await saved({ 'dir/file': { kind: 'file', content: 'secret' } });
  await using outside = await testFolder();
  await using to = await testFolder();
  await symlink(outside.path, join(to.path, 'dir'));
  await expect(restoreJob(there.blobs.connect(), to.path)).rejects.toMatchObject({ code: 'unsafe-target' });
  expect(await readdir(outside.path)).toEqual([]);
  await using other = await testFolder();
  await writeFile(join(outside.path, 'victim'), 'untouched');
  await mkdir(join(other.path, 'dir'));
  await symlink(join(outside.path, 'victim'), join(other.path, 'dir/file'));
  await restoreJob(there.blobs.connect(), other.path);
  expect(await readFile(join(outside.path, 'victim'), 'utf8')).toBe('untouched');
  expect(await readFile(join(other.path, 'dir/file'), 'utf8')).toBe('secret');
});

test('a link put into the target while a file is fetched does not lead it outside', async () => {
  await using there = await saved({ 'dir/file': { kind: 'file', content: 'x' } });
  await using outside = await testFolder();
  await using to = await testFolder();
  const store = there.blobs.connect({
    async before(call) {
      if (!there.made.packsOf('dir/file').includes(call.name)) return;
      await rename(join(to.path, 'dir'), join(to.path, 'moved'));
      await symlink(outside.path, join(to.path, 'dir'));
    },
  });
  await restoreJob(store, to.path).catch((error: unknown) =>
    expect(error).toMatchObject({ code: 'unsafe-target' }),
  );
  expect(await readdir(outside.path)).toEqual([]);
});

test('a folder in the place of a file is named and left alone', async () => {
  await using there = await saved({ 'dir/a': { kind: 'file', content: 'a' } });
  await using to = await testFolder();
  await writeTree(to.path, { 'dir/a/precious': { kind: 'file', content: 'data' } });
  await expect(restoreJob(there.blobs.connect(), to.path)).rejects.toMatchObject({
    code: 'unsafe-target',
    message: expect.stringContaining('"dir/a"'),
  });
  expect(await readFile(join(to.path, 'dir/a/precious'), 'utf8')).toBe('data');
});

test('what a killed restore has left is swept up', async () => {
  await using there = await saved({ 'dir/a': { kind: 'file', content: 'a' } });
  await using to = await testFolder();
  await mkdir(join(to.path, 'dir'));
  for (const folder of ['', 'dir/'])
    await writeFile(join(to.path, `${folder}.evictd-restore-0123456789abcdef`), 'left');
  await writeFile(join(to.path, '.evictd-restore-0000000000000000'), '');
  await restoreJob(there.blobs.connect(), to.path);
  expect(await readTree(to.path)).toEqual(await readTree(there.from.path));
});

test('while it runs a hold keeps its checkpoint; whoever may only read restores without', async () => {
  await using there = await saved({ a: { kind: 'file', content: 'a' } });
  const { blobs } = there;
  await using to = await testFolder();
  const held: string[] = [];
  const store = blobs.connect({
    before(call) {
      if (there.made.packsOf('a').includes(call.name))
        held.push(...blobs.names().filter((name) => name.includes('/holds/')));
    },
  });
  await restoreJob(store, to.path);
  expect(held).toEqual([expect.stringMatching(/^p\/vm-1\/sets\/job\/holds\/00000001-[0-9a-f]{16}$/)]);
  expect(blobs.names().filter((name) => name.includes('/holds/'))).toEqual([]);
  const readOnly = blobs.connect({
    before({ operation }) {
      if (operation === 'create') throw storeError('forbidden', 'no');
    },
  });
  expect(await restoreJob(readOnly, to.path)).toMatchObject({ filesKept: 1 });
  expect(countCalls(readOnly, 'remove')).toBe(0);
});

test('a checkpoint without files, a partial one and one with losses are told, and --whole looks further back', async () => {
  await using there = await saved({ a: { kind: 'file', content: 'a' } });
  const { blobs, from, made } = there;
  const lost = { count: 1, paths: ['gone'] };
  const second = await makeCheckpoint(blobs, from.path, { after: made, manifest: { lost } });
  const partial = { older: { count: 1, paths: ['a'] }, absent: { count: 0, paths: [] } };
  await makeCheckpoint(blobs, from.path, { after: second, manifest: { partial }, change: () => [] });
  await using to = await testFolder();
  const { codes, onNote } = notes();
  const store = blobs.connect();
  expect(await restoreJob(store, to.path, {}, { onNote })).toMatchObject({ id: '00000003' });
  expect(codes).toEqual(['no-files', 'partial-checkpoint']);
  await restoreJob(store, to.path, { at: '00000002' }, { onNote });
  expect(codes.slice(2)).toEqual(['files-lost']);
  expect(await restoreJob(store, to.path, { whole: true }, { onNote })).toMatchObject({ id: '00000001' });
  expect(codes.slice(3)).toEqual([]);
});
