import { expect, test } from 'vitest';

import type { Entry } from '../../../src/checkpoint/format/entry.ts';
import { type Change, diffCheckpoints } from '../../../src/checkpoint/retention/diff.ts';
import { keepCheckpoint } from '../../../src/checkpoint/retention/holds.ts';
import { listCheckpoints, listSets } from '../../../src/checkpoint/retention/list.ts';
import { describeCheckpoint } from '../../../src/checkpoint/retention/show.ts';
import { MADE_PLACE, createMadeWriter } from '../../support/made-store.ts';
import { countCalls } from '../../support/memory-blobs.ts';
import { PREFIX, createRig } from './prune-rig.ts';

const signal = new AbortController().signal;
const none = { count: 0, paths: [] };

test('checkpoints are listed by set, the newest first, with what is to be known of each', async () => {
  const rig = createRig();
  for (const set of ['two', 'one']) {
    const writer = createMadeWriter(rig.store, { place: { ...MADE_PLACE, set }, vmName: 'fleet_1' });
    await writer.takeOver();
    await writer.commit({ a: 'four' }, { lost: ['b', 'c'], changing: ['a'] });
    await writer.commit({ a: 'five!' }, { reason: 'notice', partial: { older: none, absent: none } });
  }
  const place = { prefix: 'p', key: 'vm-1' };
  await keepCheckpoint({ ...place, set: 'one' }, '00000002', 'me', { store: rig.store }, signal);
  rig.blobs.corrupt('p/vm-1/sets/two/checkpoints/00000002.json', () => Buffer.from('{}'));
  const all = await listCheckpoints(place, { store: rig.store }, signal);
  expect(all).toEqual([
    {
      set: 'one',
      id: '00000003',
      held: null,
      kind: 'usable',
      createdAt: '2026-01-01T00:00:00.000Z',
      reason: 'notice',
      files: 1,
      bytes: 5,
      bytesSent: 0,
      vmName: 'fleet_1',
      vmId: 'id-of-fleet_1',
      partial: true,
      lost: 0,
      changing: 0,
    },
    expect.objectContaining({
      set: 'one',
      id: '00000002',
      held: 'keep',
      partial: false,
      lost: 2,
      changing: 1,
    }),
    expect.objectContaining({ set: 'two', id: '00000003', held: null }),
    {
      set: 'two',
      id: '00000002',
      held: null,
      kind: 'unusable',
      detail: expect.stringContaining('p/vm-1/sets/two/checkpoints/00000002.json'),
    },
  ]);
  expect(await listCheckpoints({ ...place, set: 'one' }, { store: rig.store }, signal)).toEqual(
    all.slice(0, 2),
  );
  expect(await listCheckpoints({ ...place, key: 'other' }, { store: rig.store }, signal)).toEqual([]);
  expect(await listSets(place, { store: rig.store }, signal)).toEqual(['one', 'two']);
});

test('a checkpoint is shown with what it needs, and all its entries', async () => {
  const rig = createRig();
  const writer = rig.writer();
  await writer.takeOver();
  await writer.commit({ 'd/a': 'one', b: 'two' });
  const link: Entry = { type: 'symlink', path: 'l', mode: 0o777, uid: 0, gid: 0, mtimeNs: 5n, target: 'd/a' };
  await writer.commit({ 'd/a': 'one', b: 'three', hole: 5000 }, { more: [link] });
  const shown = await describeCheckpoint(MADE_PLACE, undefined, { store: rig.store }, signal);
  expect(shown).toMatchObject({
    manifest: { id: '00000003', parent: { id: '00000002' } },
    sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
    bytes: rig.blobs.content(`${PREFIX}checkpoints/00000003.json`)?.length,
    data: { packs: 2, used: 8 },
    metadata: { packs: 1 },
    holds: [],
  });
  const listed: string[] = [];
  for await (const { type, path } of shown.entries()) listed.push(`${type} ${path}`);
  expect(listed).toEqual(['file b', 'directory d', 'file d/a', 'file hole', 'symlink l']);
  let packs = 0;
  for await (const { bytes } of shown.packs()) packs += bytes > 0 ? 1 : 0;
  expect(packs).toBe(2);
  await expect(
    describeCheckpoint(MADE_PLACE, '00000001', { store: rig.store }, signal),
  ).rejects.toMatchObject({
    code: 'nothing-found',
  });
});

async function diff(rig: ReturnType<typeof createRig>, before: string, after: string, store = rig.store) {
  const changes: string[] = [];
  for await (const change of diffCheckpoints(MADE_PLACE, { before, after }, { store }, signal))
    changes.push(textOf(change));
  return changes;
}

function textOf(change: Change): string {
  return change.kind === 'changed'
    ? `${change.what.join('+')} ${change.path}`
    : `${change.kind} ${change.path}`;
}

test('what became of the entries between two checkpoints, in order', async () => {
  const rig = createRig();
  const writer = rig.writer();
  await writer.takeOver();
  const attributes = { mode: 0o755, uid: 0, gid: 0, mtimeNs: 5n };
  const folder: Entry = { type: 'directory', path: 'f', ...attributes };
  const link: Entry = { type: 'symlink', path: 'l', ...attributes, target: 'a' };
  const hard: Entry = { type: 'hardlink', path: 'x', target: 'a' };
  const long = Buffer.from(Array.from({ length: 200 }, (_, index) => index));
  const changed = Buffer.from(long);
  changed[150] = 255;
  await writer.commit(
    { a: 'same', b: 'before', 'd/goes': 'x', kind: 'file', long, same: long, zeros: 10 },
    { more: [folder, link, hard], chunkBytes: 1 },
  );
  await writer.commit(
    { a: 'same', b: 'after', 'd.new': 'y', 'kind/of': 'folder', long: changed, same: long, zeros: 11 },
    {
      more: [
        { ...folder, mode: 0o700, uid: 5 },
        { ...link, target: 'b', mtimeNs: 6n },
        { ...hard, target: 'b' },
      ],
      chunkBytes: 1,
    },
  );
  expect(await diff(rig, '00000002', '00000003')).toEqual([
    'content b',
    'removed d',
    'removed d/goes',
    'added d.new',
    'mode+owner f',
    'type kind',
    'added kind/of',
    'target+time l',
    'content long',
    'target x',
    'content zeros',
  ]);
  expect(await diff(rig, '00000003', '00000002')).toHaveLength(11);
  expect(await diff(rig, '00000003', '00000003')).toEqual([]);
});

test('what is the same in large trees is not read', async () => {
  const rig = createRig();
  const writer = rig.writer();
  await writer.takeOver();
  const files = Object.fromEntries(
    Array.from({ length: 20_000 }, (_, index) => [`d${index % 40}/${index}`, 1]),
  );
  await writer.commit(files);
  const changes = { 'd0/40': 2, 'd39/19999': 3, 'd5/new': 1, 'e/f': 1 };
  await writer.commit({ ...files, ...changes });
  const client = rig.blobs.connect();
  expect(await diff(rig, '00000002', '00000003', client)).toEqual([
    'content d0/40',
    'content d39/19999',
    'added d5/new',
    'added e',
    'added e/f',
  ]);
  // Two manifests; of each tree the top, a node or two below it, and the leaves of the changes.
  expect(countCalls(client, 'read')).toBeLessThan(25);
  expect(await diff(rig, '00000002', '00000003')).toEqual(
    (await diff(rig, '00000003', '00000002')).map((line) => line.replace('removed', 'added')),
  );
});
