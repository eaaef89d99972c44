import { rm } from 'node:fs/promises';

import { expect, test } from 'vitest';

import { SET_PREFIX, commitJob, committed, never } from '../../support/checkpoints.ts';
import { pattern } from '../../support/file-tree.ts';
import { DAY, HOUR, MIB, type Rig, checkpointName, createRig, stageIdle } from './sequence-rig.ts';

/** The account is as it was before, by a failover to where not all had arrived. */
async function goBack({ blobs }: Rig, before: ReadonlyMap<string, Buffer>): Promise<void> {
  for (const name of blobs.names()) if (!before.has(name)) blobs.remove(name);
  const there = new Set(blobs.names());
  for (const [name, content] of before) {
    if (!there.has(name)) await blobs.connect().create(name, content, { contentType: '' }, never());
  }
}

const stateOf = ({ blobs }: Rig) =>
  new Map(blobs.names().map((name) => [name, blobs.content(name) ?? Buffer.alloc(0)]));

/** After a failure that it can do something about, a drain tries again. */
async function committedAtLast(checkpointer: Parameters<typeof committed>[0], code: string) {
  expect(await commitJob(checkpointer)).toMatchObject({ kind: 'failed', code, retryable: true });
  return committed(checkpointer);
}

test('an account that failed over to an older state: what is missing is sent again, and no id comes back', async () => {
  await using rig = createRig();
  await using machine = await rig.machine();
  const daemon = machine.start();
  await machine.write({ a: pattern(MIB), b: pattern(1000) });
  await committed(daemon);
  const before = stateOf(rig);
  rig.later(2 * HOUR);
  await machine.write({ a: pattern(MIB, 2), c: pattern(9 * MIB, 3) });
  await committed(daemon);
  await machine.write({ b: pattern(1000, 2) });
  await committed(daemon);
  await goBack(rig, before);
  const { id } = await committedAtLast(daemon, 'store-went-back');
  expect(Number(id)).toBeGreaterThan(4);
  await rig.expectRestored(machine);
  rig.later(2 * HOUR);
  await rig.prune(1);
  await rig.expectRestored(machine);
});

test('somebody else took the very id that the failover had freed: a conflict', async () => {
  await using rig = createRig();
  await using machine = await rig.machine();
  await using other = await rig.machine('vm-2');
  const daemon = machine.start();
  await machine.write({ a: pattern(MIB) });
  await committed(daemon);
  const before = stateOf(rig);
  rig.later(2 * HOUR);
  await machine.write({ a: pattern(MIB, 2) });
  await committed(daemon);
  rig.later(HOUR);
  // It has seen it.
  await stageIdle(daemon, rig);
  await goBack(rig, before);
  await other.write({ a: pattern(MIB, 3) });
  const second = other.start();
  await committed(second);
  rig.blobs.remove(checkpointName(4));
  expect(rig.ids()).toEqual([1, 2, 3]);
  await machine.write({ a: pattern(MIB, 4) });
  expect(await commitJob(daemon)).toMatchObject({ kind: 'failed' });
  expect(rig.ids()).toEqual([1, 2, 3]);
});

test('a lifecycle rule that took the oldest blobs: what is gone is sent again', async () => {
  await using rig = createRig();
  await using machine = await rig.machine();
  const daemon = machine.start();
  await machine.write({ old: pattern(9 * MIB), a: pattern(1000) });
  await committed(daemon);
  const oldest = rig.blobs.names();
  rig.later(40 * DAY);
  await machine.write({ a: pattern(1000, 2) });
  await committed(daemon);
  for (const name of oldest) rig.blobs.remove(name);
  expect(rig.ids()).toEqual([3]);
  rig.later(HOUR);
  const { id, bytesSent } = await committed(daemon);
  expect(id).toBe('00000004');
  expect(bytesSent).toBeGreaterThan(9 * MIB);
  await rig.expectNewest(machine);
  // The format went, too: it is in each manifest.
  await daemon.close();
  const next = machine.start({}, { bootId: 'another' });
  await machine.write({ a: pattern(1000, 3) });
  expect((await committed(next)).bytesSent).toBeLessThan(MIB);
  await rig.expectNewest(machine);
});

test('a set that nobody changed, and whose list of files a rule took: the same checkpoint is not there any more', async () => {
  await using rig = createRig();
  await using machine = await rig.machine();
  const daemon = machine.start();
  await machine.write({ a: pattern(1000) });
  await committed(daemon);
  rig.later(HOUR);
  expect(await committed(daemon)).toMatchObject({ id: '00000002' });
  const metadata = rig.packs().findLast((name) => (rig.blobs.content(name)?.length ?? 0) > 0);
  for (const name of rig.packs()) if (name === metadata) rig.blobs.remove(name);
  rig.later(HOUR);
  expect(await committed(daemon)).toMatchObject({ id: '00000003' });
  await rig.expectNewest(machine, '00000003');
});

test('a rule that took all of a set', async () => {
  await using rig = createRig();
  await using machine = await rig.machine();
  const daemon = machine.start();
  await machine.write({ a: pattern(MIB) });
  await committed(daemon);
  for (const name of rig.blobs.names()) rig.blobs.remove(name);
  const { id } = await committedAtLast(daemon, 'store-went-back');
  expect(id).toBe('00000004');
  await rig.expectRestored(machine);
});

test('what was staged after the first checkpoint, of an empty folder, is not pruned', async () => {
  await using rig = createRig();
  await using machine = await rig.machine();
  const daemon = machine.start();
  await committed(daemon);
  await machine.write({ a: pattern(9 * MIB) });
  rig.later(HOUR);
  await stageIdle(daemon, rig);
  await rig.prune(1);
  expect((await committed(daemon)).bytesSent).toBeGreaterThan(9 * MIB);
  await rig.expectRestored(machine);
});

test('a checkpoint whose last listing failed is gone on from', async () => {
  await using rig = createRig();
  await using machine = await rig.machine();
  let isTold = true;
  const daemon = machine.start({
    before({ operation, name }) {
      const isLast = operation === 'list' && name === `${SET_PREFIX}checkpoints/` && rig.ids().includes(3);
      if (isLast && !isTold) throw new Error('no answer');
    },
  });
  await machine.write({ a: pattern(MIB), b: pattern(MIB, 2) });
  await committed(daemon);
  await rm(`${machine.path}/data/b`);
  isTold = false;
  expect(await commitJob(daemon)).toMatchObject({ kind: 'failed' });
  isTold = true;
  rig.later(2 * HOUR);
  await rig.prune(1);
  await machine.write({ b: pattern(MIB, 2) });
  await committed(daemon);
  await rig.expectRestored(machine);
});
