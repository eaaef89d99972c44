import { expect, test } from 'vitest';

import { keepCheckpoint, listHolds, releaseCheckpoint } from '../../../src/checkpoint/retention/holds.ts';
import { MADE_PLACE } from '../../support/made-store.ts';
import { expectWhole } from '../../support/made-whole.ts';
import { DAY, HOUR, PREFIX, fiveCheckpoints } from './prune-rig.ts';

const signal = new AbortController().signal;

const hold = (kind: string) => Buffer.from(JSON.stringify({ version: 1, kind, by: 'a test' }));

test('a checkpoint that is kept stays until it is released, with its packs', async () => {
  const { rig } = await fiveCheckpoints();
  expect(await keepCheckpoint(MADE_PLACE, '00000003', 'somebody', { store: rig.store }, signal)).toBe(true);
  expect(await keepCheckpoint(MADE_PLACE, '00000003', 'somebody', { store: rig.store }, signal)).toBe(false);
  rig.later(90 * DAY);
  expect(await rig.prune(1)).toMatchObject({
    held: ['00000003'],
    removed: ['00000002', '00000004', '00000005'],
  });
  expect(Object.keys(await expectWhole(rig.store))).toEqual(['00000003', '00000006']);
  const { holds } = await listHolds(MADE_PLACE, { store: rig.store }, signal);
  expect(holds).toMatchObject([{ id: '00000003', kind: 'keep', by: 'somebody' }]);
  expect(await releaseCheckpoint(MADE_PLACE, '00000003', { store: rig.store }, signal)).toBe(true);
  expect(await releaseCheckpoint(MADE_PLACE, '00000003', { store: rig.store }, signal)).toBe(false);
  expect(await rig.prune(1)).toMatchObject({ held: [], removed: ['00000003'] });
  expect(rig.packs()).toHaveLength(3);
});

test.each(['00000001', '00000042', '../x'])('%s is no checkpoint to keep', async (id) => {
  const { rig } = await fiveCheckpoints();
  await expect(keepCheckpoint(MADE_PLACE, id, 'x', { store: rig.store }, signal)).rejects.toMatchObject({
    code: 'nothing-found',
  });
  expect(rig.blobs.names().filter((name) => name.includes('/holds/'))).toEqual([]);
});

test("a restore's hold counts for a day, one that can't be read for ever", async () => {
  const { rig } = await fiveCheckpoints();
  const holds = {
    [`${PREFIX}holds/00000002-aa`]: hold('restore'),
    [`${PREFIX}holds/00000003-bb`]: Buffer.from('?'),
    [`${PREFIX}holds/00000099-cc`]: hold('keep'),
  };
  for (const [name, body] of Object.entries(holds))
    await rig.store.create(name, body, { contentType: 'application/json' }, signal);
  rig.later(DAY - HOUR);
  expect(await rig.prune(1)).toMatchObject({
    held: ['00000002', '00000003'],
    removed: ['00000004', '00000005'],
    // A hold for what isn't there: somebody may still be reading its packs.
    end: 'changed',
  });
  rig.later(2 * HOUR);
  expect(await rig.prune(1)).toMatchObject({ held: ['00000003'], removed: ['00000002'], end: 'done' });
  expect(rig.blobs.names().filter((name) => name.includes('/holds/'))).toEqual([
    `${PREFIX}holds/00000003-bb`,
  ]);
  expect(Object.keys(await expectWhole(rig.store))).toEqual(['00000003', '00000006']);
});

test('a restore that begins between any two calls has all that it needs, or finds its checkpoint gone', async () => {
  for (let call = 1; ; call++) {
    const { rig } = await fiveCheckpoints();
    let isDone = false;
    let isFound = false;
    await rig.prune(1, {
      hooks: {
        async before(_, number) {
          if (number !== call) return;
          isDone = true;
          await rig.store.create(`${PREFIX}holds/00000003-aa`, hold('restore'), { contentType: '' }, signal);
          isFound = rig.ids().includes('00000003');
        },
      },
    });
    if (!isDone) return;
    // Its manifest was there when the hold was.
    if (isFound) expect(rig.packs()).toHaveLength(12 - (rig.ids().includes('00000003') ? 6 : 0));
    expect(call).toBeLessThan(60);
  }
});
