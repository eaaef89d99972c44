import { expect, test } from 'vitest';

import { listEntries } from '../../../src/checkpoint/index/entries.ts';
import { pruneSet } from '../../../src/checkpoint/retention/prune.ts';
import type { BlobPage, BlobStore } from '../../../src/checkpoint/store/store.ts';
import { MADE_PLACE } from '../../support/made-store.ts';
import { expectWhole } from '../../support/made-whole.ts';
import { storeError } from '../../support/memory-blobs.ts';
import { DAY, HOUR, PREFIX, createRig, fiveCheckpoints } from './prune-rig.ts';

const signal = new AbortController().signal;

const entryOf = (id: string) => `${PREFIX}checkpoints/${id}.json`;

/** A client to whom the service doesn't give some blobs up. */
function keeping(code: 'immutable' | 'leased', isKept: (name: string) => boolean) {
  return {
    before({ operation, name }: { readonly operation: string; readonly name: string }) {
      if (operation === 'remove' && isKept(name)) throw storeError(code, name);
    },
  };
}

test('from a laptop, beside a daemon that has staged for days: what it staged stays until its next checkpoint', async () => {
  const { rig, writer } = await fiveCheckpoints();
  const staged = [await writer.stage('staged on Monday'), await writer.stage('staged on Tuesday')];
  rig.later(5 * DAY);
  expect(await rig.prune(1)).toMatchObject({ removed: ['00000002', '00000003', '00000004', '00000005'] });
  expect(rig.blobs.names()).toEqual(expect.arrayContaining(staged.map((name) => `${PREFIX}packs/${name}`)));
  // It has no use for them any more; only another checkpoint says so.
  await writer.commit({ stays: 'this one stays' });
  rig.later(2 * HOUR);
  expect(await rig.prune(1)).toMatchObject({ removed: ['00000006'] });
  expect(rig.packs()).toHaveLength(2);
  await expectWhole(rig.store);
});

test('packs of a writer that was succeeded go, those that its successor adopts stay until that has a checkpoint', async () => {
  const { rig, writer } = await fiveCheckpoints();
  const adopted = await writer.stage('adopted');
  const seq = Number.parseInt(adopted.slice(-8), 16);
  const late = await writer.stage('arrived after the successor had looked');
  const successor = rig.writer();
  expect(await successor.takeOver({ epoch: writer.epoch, seq })).toBe('00000007');
  const staged = await successor.stage('by the successor');
  rig.later(DAY);
  await rig.prune(1);
  const there = (name: string) => rig.blobs.content(`${PREFIX}packs/${name}`) !== undefined;
  expect([adopted, late, staged].map(there)).toEqual([true, false, true]);
  // Its predecessor's newest checkpoint is still the one to restore.
  expect(Object.keys(await expectWhole(rig.store))).toEqual(['00000006']);
  await successor.commit({ stays: 'this one stays' });
  rig.later(2 * HOUR);
  await rig.prune(1);
  expect([adopted, staged].map(there)).toEqual([false, false]);
  expect(Object.keys(await expectWhole(rig.store))).toEqual(['00000008']);
});

test('a takeover between any two calls finds all packs that it may adopt', async () => {
  for (let call = 1; ; call++) {
    const { rig, writer } = await fiveCheckpoints();
    const staged = await writer.stage('adopted');
    const successor = rig.writer();
    let isDone = false;
    await rig.prune(1, {
      hooks: {
        async before(_, number) {
          if (number !== call) return;
          isDone = true;
          await successor.takeOver({ epoch: writer.epoch, seq: 0xffff });
        },
      },
    });
    if (!isDone) return;
    expect(rig.blobs.names()).toContain(`${PREFIX}packs/${staged}`);
    expect(await expectWhole(rig.store)).toHaveProperty('00000006');
    expect(call).toBeLessThan(60);
  }
});

test('a writer that was paused finds its id taken; when the takeover is gone after a month, a newer entry than its own', async () => {
  const { rig, writer } = await fiveCheckpoints();
  const paused = await writer.prepare({ 'd/changes': 'of a writer that was paused' });
  const successor = rig.writer();
  await successor.takeOver();
  for (let round = 0; round < 3; round++) {
    await successor.commit({ stays: `${round}` });
    rig.later(2 * HOUR);
  }
  await rig.prune(1);
  expect(rig.ids()).toEqual(['00000001', '00000007', '00000010']);
  await expect(paused.send()).rejects.toThrow('00000007 is taken');
  // Another reboot, so that the first two takeovers are of no use to anybody.
  const next = rig.writer();
  await next.takeOver();
  await next.commit({ stays: 'of the next one' });
  rig.later(31 * DAY);
  await rig.prune(1);
  expect(rig.ids()).toEqual(['00000011', '00000012']);
  await paused.send();
  // Which is how it knows that there was somebody else; see commit.
  const { entries } = await listEntries(rig.store, MADE_PLACE, signal);
  expect(entries.at(-1)?.id).toBe('00000012');
  rig.blobs.remove(entryOf('00000007'));
  expect(Object.keys(await expectWhole(rig.store))).toEqual(['00000012']);
});

test('takeovers without any checkpoint after them stay as long as they may be of use', async () => {
  const rig = createRig();
  for (let boot = 0; boot < 3; boot++) {
    await rig.writer().takeOver();
    rig.later(31 * DAY);
  }
  await rig.prune(1);
  expect(rig.ids()).toEqual(['00000003']);
});

test('a crash between manifests and packs: the next time the packs go', async () => {
  const { rig } = await fiveCheckpoints();
  const hooks = {
    before({ operation, name }: { readonly operation: string; readonly name: string }) {
      if (operation === 'remove' && name.includes('/packs/')) throw storeError('network', 'dead');
    },
  };
  await expect(rig.prune(2, { hooks })).rejects.toMatchObject({ code: 'network' });
  expect(rig.ids()).toEqual(['00000001', '00000005', '00000006']);
  expect(rig.packs()).toHaveLength(12);
  await expectWhole(rig.store);
  expect(await rig.prune(2)).toMatchObject({ removed: [], packs: 7 });
  await expectWhole(rig.store);
});

test.each(['immutable', 'leased'] as const)(
  'a manifest that is %s stays with its packs, though those could go',
  async (code) => {
    const { rig } = await fiveCheckpoints();
    const result = await rig.prune(1, { hooks: keeping(code, (name) => name === entryOf('00000003')) });
    expect(result).toMatchObject({
      removed: ['00000002', '00000004', '00000005'],
      refused: ['00000003'],
      end: 'done',
    });
    const whole = await expectWhole(rig.store);
    expect(whole['00000003']).toEqual({
      stays: 'this one stays',
      goes: 'this one goes',
      'd/changes': 'this is version 3',
    });
    expect(Object.keys(whole)).toEqual(['00000003', '00000006']);
  },
);

test('in a container that keeps all, nothing goes and nothing fails', async () => {
  const { rig } = await fiveCheckpoints();
  const before = rig.blobs.names();
  const result = await rig.prune(1, { hooks: keeping('immutable', () => true) });
  expect(result).toMatchObject({ removed: [], packs: 0, bytes: 0, end: 'done' });
  expect(result.refused).toEqual(['00000002', '00000003', '00000004', '00000005']);
  expect(rig.blobs.names()).toEqual(before);
});

test('packs that the service keeps are counted', async () => {
  const { rig } = await fiveCheckpoints();
  const result = await rig.prune(2, { hooks: keeping('immutable', (name) => name.includes('/packs/')) });
  expect(result).toMatchObject({ packs: 0, packsRefused: 7, end: 'done' });
});

test('a chunk that comes back after its pack was pruned has another pack; the late arrival of the first harms nobody', async () => {
  const { rig, writer } = await fiveCheckpoints();
  await rig.prune(1);
  const before = new Set(rig.packs());
  await writer.commit({ stays: 'this one stays', goes: 'this one goes' });
  rig.later(2 * HOUR);
  const stale = (await fiveCheckpoints()).writer;
  await rig.prune(1);
  expect(rig.packs().filter((name) => !before.has(name))).toHaveLength(2);
  expect(stale.epoch).not.toBe(writer.epoch);
  expect(await expectWhole(rig.store)).toEqual({
    '00000007': { stays: 'this one stays', goes: 'this one goes' },
  });
});

test("a killed process's pack that arrives late goes with the next pruning", async () => {
  const { rig, writer } = await fiveCheckpoints();
  const late = rig.writer({ epoch: writer.epoch });
  // Its number is one that the checkpoints since have passed.
  const pack = await late.stage('late');
  await rig.prune(2);
  expect(rig.blobs.names()).not.toContain(`${PREFIX}packs/${pack}`);
  await expectWhole(rig.store);
});

test('a listing in pages shows the same', async () => {
  const { rig } = await fiveCheckpoints({ pageMax: 2 });
  expect(await rig.prune(2)).toMatchObject({ removed: ['00000002', '00000003', '00000004'], packs: 7 });
  await expectWhole(rig.store);
});

/** `store` as it would answer if its first listing of entries were of an earlier moment. */
function lagging(store: BlobStore, page: BlobPage): BlobStore {
  let isFirst = true;
  return {
    ...store,
    async list(prefix, options, inner) {
      const isStale = isFirst && prefix.endsWith('/checkpoints/');
      if (isStale) isFirst = false;
      return isStale ? page : store.list(prefix, options, inner);
    },
  };
}

test('a listing of entries that lags behind that of packs costs no checkpoint its packs', async () => {
  const { rig, writer } = await fiveCheckpoints();
  const page = await rig.store.list(`${PREFIX}checkpoints/`, {}, signal);
  await writer.commit({ stays: 'changed', goes: 'this one goes' });
  const successor = rig.writer();
  await successor.takeOver();
  await successor.commit({ stays: 'changed', goes: 'this one goes' });
  const options = { place: MADE_PLACE, keep: 1, dryRun: false };
  const result = await pruneSet(options, { store: lagging(rig.blobs.connect(), page) }, signal);
  expect(result).toMatchObject({ end: 'changed', packs: 0 });
  expect(Object.keys(await expectWhole(rig.store))).toEqual(['00000006', '00000007', '00000009']);
});

test('a manifest that arrives late, below the newest, keeps its packs', async () => {
  const { rig } = await fiveCheckpoints();
  const late = rig.blobs.content(entryOf('00000003')) ?? Buffer.alloc(0);
  rig.blobs.remove(entryOf('00000003'));
  const hooks = {
    async after({ operation, name }: { readonly operation: string; readonly name: string }) {
      if (operation !== 'remove' || name !== entryOf('00000002')) return;
      await rig.store.create(entryOf('00000003'), late, { contentType: 'application/json' }, signal);
    },
  };
  expect(await rig.prune(2, { hooks })).toMatchObject({ removed: ['00000002', '00000004'], end: 'changed' });
  expect(Object.keys(await expectWhole(rig.store))).toEqual(['00000003', '00000005', '00000006']);
});

test('a set without any entry has its packs left alone: whatever took the entries', async () => {
  const { rig } = await fiveCheckpoints();
  for (const id of rig.ids()) rig.blobs.remove(entryOf(id));
  rig.later(60 * DAY);
  expect(await rig.prune(1)).toMatchObject({ removed: [], packs: 0, end: 'done' });
  expect(rig.packs()).toHaveLength(12);
});

test('an account that failed over to an older state: what the writer has sent since stays', async () => {
  const { rig, writer } = await fiveCheckpoints();
  await writer.commit({ stays: 'this one stays', 'd/changes': 'lost with the failover' });
  rig.blobs.remove(entryOf('00000007'));
  rig.later(2 * HOUR);
  const before = rig.packs().length;
  await rig.prune(5);
  expect(rig.packs()).toHaveLength(before);
});
