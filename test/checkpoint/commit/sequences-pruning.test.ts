import { expect, test } from 'vitest';

import { committed } from '../../support/checkpoints.ts';
import { pattern } from '../../support/file-tree.ts';
import { storeError } from '../../support/memory-blobs.ts';
import { DAY, HOUR, MIB, checkpointName, createRig, stageIdle } from './sequence-rig.ts';

test('pruned from a laptop beside a daemon that has staged for days: nothing is sent again', async () => {
  await using rig = createRig();
  await using machine = await rig.machine();
  await machine.write({ a: pattern(1000) });
  const daemon = machine.start();
  await committed(daemon);
  for (const day of [1, 2, 3]) {
    await machine.write({ [`day-${day}`]: pattern(9 * MIB, day) });
    rig.later(DAY);
    await stageIdle(daemon, rig);
    await rig.prune(1);
  }
  expect((await committed(daemon)).bytesSent).toBeGreaterThan(27 * MIB);
  rig.later(HOUR);
  await rig.prune(1);
  await rig.expectRestored(machine);
  const sent = rig.packs().reduce((sum, name) => sum + (rig.blobs.content(name)?.length ?? 0), 0);
  expect(sent).toBeLessThan(28 * MIB);
});

test('a chunk that comes back after its pack was pruned is sent again', async () => {
  await using rig = createRig();
  await using machine = await rig.machine();
  const daemon = machine.start();
  for (const seed of [1, 2, 1]) {
    await machine.write({ a: pattern(MIB, seed) });
    rig.later(2 * HOUR);
    expect((await committed(daemon)).bytesSent).toBeGreaterThan(MIB);
    rig.later(2 * HOUR);
    await rig.prune(1);
  }
  expect(rig.packs()).toHaveLength(2);
  await rig.expectRestored(machine);
});

test('a crash between deleting manifests and packs costs nothing, and the next pruning ends it', async () => {
  await using rig = createRig();
  await using machine = await rig.machine();
  const daemon = machine.start();
  for (const seed of [1, 2, 3]) {
    await machine.write({ a: pattern(MIB, seed) });
    await committed(daemon);
    rig.later(2 * HOUR);
  }
  const dies = (operation: string, name: string) => {
    if (operation === 'remove' && name.includes('/packs/')) throw storeError('network', 'dead');
  };
  await expect(rig.prune(1, { before: ({ operation, name }) => dies(operation, name) })).rejects.toThrow(
    'dead',
  );
  expect(rig.ids()).toEqual([1, 4]);
  await machine.write({ a: pattern(MIB, 1) });
  await committed(daemon);
  rig.later(2 * HOUR);
  await rig.prune(1);
  expect(rig.packs()).toHaveLength(2);
  await rig.expectRestored(machine);
});

test("a manifest that can't be deleted, while its packs can, stays with them", async () => {
  await using rig = createRig();
  await using machine = await rig.machine();
  const daemon = machine.start();
  for (const seed of [1, 2, 3]) {
    await machine.write({ a: pattern(MIB, seed) });
    await committed(daemon);
    rig.later(2 * HOUR);
  }
  const hooks = {
    before({ operation, name }: { readonly operation: string; readonly name: string }) {
      if (operation === 'remove' && name === checkpointName(2)) throw storeError('immutable', 'kept');
    },
  };
  expect(await rig.prune(1, hooks)).toMatchObject({ removed: ['00000003'], refused: ['00000002'] });
  expect(rig.ids()).toEqual([1, 2, 4]);
  await rig.expectRestored(machine);
});
