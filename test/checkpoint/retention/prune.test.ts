import { expect, test } from 'vitest';

import { storeError } from '../../support/memory-blobs.ts';
import { expectWhole } from '../../support/made-whole.ts';
import { DAY, HOUR, PREFIX, createRig, fiveCheckpoints } from './prune-rig.ts';

test('the newest stay, and what only older ones needed goes', async () => {
  const { rig } = await fiveCheckpoints();
  const before = rig.blobs.names();
  const planned = await rig.prune(2, { dryRun: true });
  // Each has a pack of its tree, `changes` has one in each, and `goes` had one.
  expect(planned).toMatchObject({
    set: 'job',
    removed: ['00000002', '00000003', '00000004'],
    packs: 7,
    bytesRetained: 0,
    held: [],
    refused: [],
    packsRefused: 0,
    end: 'done',
  });
  expect(rig.blobs.names()).toEqual(before);
  const bytesBefore = before.reduce((sum, name) => sum + (rig.blobs.content(name)?.length ?? 0), 0);
  expect(await rig.prune(2)).toEqual(planned);
  const left = rig.blobs.names();
  expect(bytesBefore - planned.bytes).toBe(
    left.reduce((sum, name) => sum + (rig.blobs.content(name)?.length ?? 0), 0),
  );
  expect(rig.ids()).toEqual(['00000001', '00000005', '00000006']);
  expect(rig.packs()).toHaveLength(5);
  expect(await expectWhole(rig.store)).toMatchObject({
    '00000006': { stays: 'this one stays', 'd/changes': 'this is version 6' },
  });
  expect(await rig.prune(2)).toMatchObject({ removed: [], packs: 0, bytes: 0, end: 'done' });
});

test.each(['before', 'after'] as const)(
  'a process that dies %s any of its calls harms no checkpoint, and the next one ends the work',
  async (when) => {
    for (let call = 1; ; call++) {
      const { rig } = await fiveCheckpoints();
      let isDead = false;
      const hooks = {
        [when]: (_: unknown, number: number) => {
          isDead ||= number === call;
          if (isDead) throw storeError('network', 'dead');
        },
      };
      const died = await rig.prune(2, { hooks }).then(
        () => false,
        () => true,
      );
      await expectWhole(rig.store);
      await rig.prune(2);
      expect(rig.ids()).toEqual(['00000001', '00000005', '00000006']);
      expect(rig.packs()).toHaveLength(5);
      await expectWhole(rig.store);
      if (!died) return;
      expect(call).toBeLessThan(60);
    }
  },
);

test('a checkpoint made between any two calls of it keeps all that it names, also a file that came back', async () => {
  for (let call = 1; ; call++) {
    const { rig, writer } = await fiveCheckpoints();
    let isDone = false;
    const hooks = {
      async before(_: unknown, number: number) {
        if (number !== call) return;
        isDone = true;
        await writer.commit({ stays: 'this one stays', 'd/changes': 'seven', goes: 'this one goes' });
      },
    };
    await rig.prune(2, { hooks });
    if (!isDone) return;
    const whole = await expectWhole(rig.store);
    expect(whole['00000007']).toEqual({
      stays: 'this one stays',
      'd/changes': 'seven',
      goes: 'this one goes',
    });
    rig.later(2 * HOUR);
    await rig.prune(1);
    expect(rig.ids()).toEqual(['00000001', '00000007']);
    expect(Object.keys(await expectWhole(rig.store))).toEqual(['00000007']);
    expect(call).toBeLessThan(60);
  }
});

test('a pruning between any two calls of a commit costs that commit nothing, also a file that came back', async () => {
  for (let call = 1; ; call++) {
    let armedAt = Infinity;
    let made = 0;
    let isDone = false;
    const { rig, writer } = await fiveCheckpoints({
      hooks: {
        async before(_, number) {
          made = number;
          if (number !== armedAt) return;
          isDone = true;
          await rig.prune(1);
        },
      },
    });
    armedAt = made + call;
    const files = { stays: 'this one stays', 'd/changes': 'seven', goes: 'this one goes' };
    await writer.commit(files);
    expect((await expectWhole(rig.store))['00000007']).toEqual(files);
    if (!isDone) return;
    expect(call).toBeLessThan(40);
  }
});

test('two prunings at once end as one would', async () => {
  const { rig } = await fiveCheckpoints();
  const ends = await Promise.all([rig.prune(2), rig.prune(3), rig.prune(2)]);
  expect(ends.flatMap(({ removed }) => removed).toSorted()).toEqual(['00000002', '00000003', '00000004']);
  await rig.prune(2);
  expect(rig.packs()).toHaveLength(5);
  await expectWhole(rig.store);
});

test('checkpoints of the last hour stay, by the clock of the server', async () => {
  const rig = createRig();
  const writer = rig.writer();
  await writer.takeOver();
  for (let minute = 0; minute < 5; minute++) {
    await writer.commit({ a: `${minute}` });
    rig.later(20 * 60_000);
  }
  expect(await rig.prune(1)).toMatchObject({ removed: ['00000002', '00000003'], packs: 4 });
  await expectWhole(rig.store);
});

test('the newest with files, the newest whole one and the newest that is both stay in any case', async () => {
  const rig = createRig();
  const writer = rig.writer();
  await writer.takeOver();
  const none = { count: 0, paths: [] };
  await writer.commit({ a: 'older' });
  await writer.commit({ a: 'whole' });
  await writer.commit({ a: 'partial' }, { partial: { older: none, absent: none } });
  await writer.commit({}, {});
  await writer.commit({}, { lost: ['a'] });
  rig.later(2 * HOUR);
  expect(await rig.prune(1)).toMatchObject({ removed: ['00000002'] });
  expect(rig.ids()).toEqual(['00000001', '00000003', '00000004', '00000005', '00000006']);
  await expectWhole(rig.store);
});

test('of an hour and of a day the newest stay, by rules', async () => {
  const rig = createRig();
  const writer = rig.writer();
  await writer.takeOver();
  // Every half an hour for three days, from midnight on.
  for (let half = 0; half < 3 * 48; half++) {
    await writer.commit({ a: `${half}` });
    rig.later(HOUR / 2);
  }
  rig.later(HOUR);
  await rig.prune({ last: 2, hourly: 3, daily: 3 });
  // Entry 2 is of 0:00, so even ones are of the full hour; 49, 97 and 145 are each day's last.
  expect(rig.ids()).toEqual([
    '00000001',
    '00000049',
    '00000097',
    '00000141',
    '00000143',
    '00000144',
    '00000145',
  ]);
  await expectWhole(rig.store);
});

test('nothing goes while an entry that stays can not be read, or its table of packs can not', async () => {
  const unreadable = async (harm: (rig: Awaited<ReturnType<typeof fiveCheckpoints>>['rig']) => void) => {
    const { rig } = await fiveCheckpoints();
    harm(rig);
    const before = rig.blobs.names();
    const outcome = await rig.prune(2).catch((error: unknown) => error);
    expect(outcome).toMatchObject({ code: 'prune-blocked', message: expect.stringContaining('00000005') });
    expect(rig.blobs.names()).toEqual(before);
    return outcome;
  };
  const manifest = `${PREFIX}checkpoints/00000005.json`;
  await unreadable(({ blobs }) => blobs.corrupt(manifest, () => Buffer.from('{')));
  await unreadable(({ blobs }) => blobs.archive(manifest));
  const newer = await unreadable(({ blobs }) =>
    blobs.corrupt(manifest, (text) => Buffer.from(text.toString().replace('"version": 1', '"version": 2'))),
  );
  expect(newer).toMatchObject({ remedy: expect.stringContaining('version') });
  const tableOf = (rig: Awaited<ReturnType<typeof fiveCheckpoints>>['rig']) => {
    // Of the test's own store.
    const { packs } = JSON.parse(rig.blobs.content(manifest)?.toString() ?? '') as {
      packs: { pack: string };
    };
    return `${PREFIX}packs/${packs.pack}`;
  };
  await unreadable((rig) => rig.blobs.corrupt(tableOf(rig), (pack) => Buffer.alloc(pack.length)));
  await unreadable((rig) => rig.blobs.corrupt(tableOf(rig), () => Buffer.alloc(1)));
  await unreadable((rig) => rig.blobs.remove(tableOf(rig)));
});

test('an old entry that can not be read goes like the others', async () => {
  const { rig } = await fiveCheckpoints();
  rig.blobs.corrupt(`${PREFIX}checkpoints/00000003.json`, () => Buffer.from('{'));
  expect(await rig.prune(2)).toMatchObject({ removed: ['00000002', '00000003', '00000004'] });
  expect(rig.packs()).toHaveLength(5);
});

test('it does not go while nothing newer is worth as much', async () => {
  const rig = createRig();
  const writer = rig.writer();
  await writer.takeOver();
  await writer.commit({ a: 'whole' });
  const none = { count: 0, paths: [] };
  for (let round = 0; round < 3; round++)
    await writer.commit({ a: 'b' }, { partial: { older: none, absent: none } });
  rig.later(2 * HOUR);
  rig.blobs.corrupt(`${PREFIX}checkpoints/00000002.json`, () => Buffer.from('{'));
  await expect(rig.prune(1)).rejects.toMatchObject({ code: 'prune-blocked' });
  expect(rig.ids()).toHaveLength(5);
});

test('a tree of many pieces keeps the packs that its unchanged pieces are in', async () => {
  const rig = createRig();
  const writer = rig.writer();
  await writer.takeOver();
  const files = Object.fromEntries(Array.from({ length: 3000 }, (_, index) => [`file-${index}`, 1]));
  for (let round = 1; round <= 4; round++) {
    await writer.commit({ ...files, [`file-${round * 700}`]: 2 });
    rig.later(2 * HOUR);
  }
  expect(await rig.prune(1)).toMatchObject({ removed: ['00000002', '00000003', '00000004'] });
  // The first, most pieces of which are as they were, and the last.
  expect(rig.packs().map((name) => name.split('-')[1])).toEqual(expect.arrayContaining(['0', '3']));
  await expectWhole(rig.store);
});

test('a drain that begins stops it, between any two deletions', async () => {
  for (let deletions = 0; deletions < 10; deletions++) {
    const { rig } = await fiveCheckpoints();
    let asked = 0;
    expect(await rig.prune(2, { stop: () => asked++ >= deletions })).toMatchObject({ end: 'stopped' });
    await expectWhole(rig.store);
    expect(await rig.prune(2)).toMatchObject({ end: 'done' });
    expect(rig.packs()).toHaveLength(5);
  }
});

test('what the account keeps of what is deleted is told', async () => {
  const { rig } = await fiveCheckpoints({ isPermanent: false });
  const { bytes, bytesRetained } = await rig.prune(2);
  expect(bytes).toBeGreaterThan(0);
  expect(bytesRetained).toBe(bytes);
});

test('a key below another one can not be touched from there', async () => {
  const rig = createRig();
  const place = { prefix: '', key: 'fleet/vm1', set: 'files' };
  const { createMadeWriter } = await import('../../support/made-store.ts');
  const { pruneSet } = await import('../../../src/checkpoint/retention/prune.ts');
  const inner = createMadeWriter(rig.store, { place });
  await inner.takeOver();
  await inner.commit({ precious: 'precious' });
  const outer = { prefix: '', key: 'fleet', set: 'vm1' };
  const other = createMadeWriter(rig.store, { place: outer });
  await other.takeOver();
  await other.commit({ f: '1' });
  await other.commit({ f: '2' });
  rig.later(2 * DAY);
  const signal = new AbortController().signal;
  const pruned = await pruneSet({ place: outer, keep: 1, dryRun: false }, { store: rig.store }, signal);
  expect(pruned).toMatchObject({ removed: ['00000002'] });
  expect(await expectWhole(rig.store, place)).toEqual({ '00000002': { precious: 'precious' } });
});

test('names that are not of the format are left alone', async () => {
  const { rig } = await fiveCheckpoints();
  const strange = [
    'checkpoints/notes.txt',
    'checkpoints/00000000.json',
    'packs/readme',
    'packs/x/y',
    'holds/none',
  ];
  const signal = new AbortController().signal;
  for (const name of strange) {
    await rig.store.create(PREFIX + name, Buffer.from('{}'), { contentType: 'text/plain' }, signal);
  }
  rig.later(90 * DAY);
  await rig.prune(2);
  expect(rig.blobs.names()).toEqual(expect.arrayContaining(strange.map((name) => PREFIX + name)));
});
