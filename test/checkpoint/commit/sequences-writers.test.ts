import { expect, test } from 'vitest';

import type { Checkpointer } from '../../../src/checkpoint/commit/checkpointer.ts';
import { commitJob, committed } from '../../support/checkpoints.ts';
import { pattern } from '../../support/file-tree.ts';
import { storeError } from '../../support/memory-blobs.ts';
import { DAY, HOUR, MIB, checkpointName, createBarrier, createRig, stageIdle } from './sequence-rig.ts';

const manifest = (id: number) => (operation: string, name: string) =>
  operation === 'create' && name === checkpointName(id);

test.each([
  ['its next id is taken', HOUR],
  ['a month later the takeover is gone, too', 40 * DAY],
])('a writer that was paused while its successor went on and pruned: %s', async (_, passes) => {
  await using rig = createRig();
  await using paused = await rig.machine();
  await using successor = await rig.machine('vm-2');
  const { hooks, reached, release } = createBarrier(manifest(3));
  const first = paused.start(hooks);
  await paused.write({ a: pattern(MIB) });
  await committed(first);
  await paused.write({ a: pattern(MIB, 2) });
  const late = commitJob(first);
  await reached;
  await successor.write({ a: pattern(MIB, 3) });
  for (const seed of [4, 5, 6]) {
    const second = successor.start();
    await committed(second);
    await second.close();
    await successor.write({ a: pattern(MIB, seed) });
    rig.later(2 * HOUR);
  }
  // Another boot, so that the first takeover is of no use to anybody.
  const third = successor.start({}, { bootId: 'another boot' });
  await committed(third);
  rig.later(passes);
  await rig.prune(1);
  const before = rig.ids();
  expect(before.includes(3)).toBe(passes < 30 * DAY);
  release();
  expect(await late).toMatchObject({ kind: 'failed', code: 'conflict' });
  expect(rig.ids()).toEqual(before);
  // For good: until somebody decides.
  expect(await commitJob(first)).toMatchObject({ kind: 'failed', code: 'conflict' });
  await rig.expectRestored(successor);
});

test('a dying VM that commits while its successor takes over: one of them has the set, whenever that is', async () => {
  for (let call = 1; ; call++) {
    await using rig = createRig();
    await using dying = await rig.machine();
    await using heir = await rig.machine('vm-2');
    await dying.write({ a: pattern(MIB), b: pattern(1000) });
    await heir.write({ a: pattern(MIB, 2) });
    const successor = heir.start();
    let begun = Infinity;
    let taken: Promise<unknown> | undefined;
    const first = dying.start({
      async before(_, number) {
        if (number - begun === call) await (taken = committed(successor));
      },
    });
    await committed(first);
    await dying.write({ b: pattern(1000, 2) });
    begun = 0;
    const counting = dying.start({
      async before(_, number) {
        if (number === call) await (taken = committed(successor));
      },
    });
    await first.close();
    const result = await commitJob(counting);
    if (taken === undefined) {
      expect(call).toBeGreaterThan(5);
      return;
    }
    if (result.kind === 'committed') await rig.expectRestored(dying, result.id);
    else expect(result).toMatchObject({ code: 'conflict' });
    // Its successor goes on, and the other one never does.
    await heir.write({ a: pattern(MIB, 3) });
    const next = await commitJob(successor);
    const other = await commitJob(counting);
    expect([next.kind, other.kind].toSorted()).not.toEqual(['committed', 'committed']);
    await rig.expectRestored(next.kind === 'committed' ? heir : dying);
  }
});

test.each(['goes on', 'is started anew'])(
  'a lost answer followed by other content: the process %s',
  async (how) => {
    await using rig = createRig();
    await using machine = await rig.machine();
    let isLost = true;
    const hooks = {
      after({ operation, name }: { readonly operation: string; readonly name: string }) {
        if (isLost && manifest(2)(operation, name)) throw storeError('network', 'the answer is lost');
      },
    };
    const daemon = machine.start(hooks);
    await machine.write({ a: pattern(MIB), b: pattern(1000) });
    expect(await commitJob(daemon)).toMatchObject({ kind: 'failed', code: 'network' });
    isLost = false;
    await machine.write({ a: pattern(MIB, 2) });
    if (how === 'is started anew') await daemon.close();
    const next = how === 'is started anew' ? machine.start(hooks) : daemon;
    const result = await committed(next);
    expect(result).toMatchObject({ id: '00000003' });
    // Only what is new: the lost one is its parent.
    expect(result.bytesSent).toBeLessThan(2.2 * MIB);
    expect(rig.ids()).toEqual([1, 2, 3]);
    await rig.expectRestored(machine);
  },
);

/** What pruning may take because of the late one is sent again by the next attempt. */
async function committedAtLast(checkpointer: Checkpointer) {
  const result = await commitJob(checkpointer);
  if (result.kind === 'committed') return;
  expect(result).toMatchObject({ code: 'pack-gone', retryable: true });
  await committed(checkpointer);
}

test("a killed process's manifest that arrives late, at any moment of its successor's work", async () => {
  for (let call = 1; ; call++) {
    await using rig = createRig();
    await using machine = await rig.machine();
    const { hooks, reached, release } = createBarrier(manifest(3));
    const killed = machine.start(hooks);
    await machine.write({ a: pattern(MIB), b: pattern(1000) });
    await committed(killed);
    await machine.write({ a: pattern(MIB, 2) });
    const late = commitJob(killed);
    await reached;
    let isDone = false;
    const arrive = async () => {
      isDone = true;
      release();
      for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
    };
    await machine.write({ b: pattern(1000, 2) });
    const next = machine.start({ before: (_, number) => (number === call ? arrive() : undefined) });
    await committedAtLast(next);
    await rig.expectRestored(machine);
    rig.later(2 * HOUR);
    await rig.prune(1);
    await machine.write({ b: pattern(1000, 3) });
    await committedAtLast(next);
    await rig.expectRestored(machine);
    if (isDone) {
      await late;
      continue;
    }
    expect(call).toBeGreaterThan(5);
    release();
    await late;
    await rig.expectRestored(machine);
    return;
  }
});

test('a cloned disk in the same boot: the second one to write has a conflict, and after a restart the set', async () => {
  await using rig = createRig();
  await using machine = await rig.machine();
  const first = machine.start();
  await machine.write({ a: pattern(MIB), b: pattern(1000) });
  await committed(first);
  await machine.write({ staged: pattern(9 * MIB, 3) });
  rig.later(HOUR);
  await stageIdle(first, rig);
  await using clone = await machine.copy();
  // It knows all that the other one knows, its epoch and what it has staged.
  const second = clone.start();
  await clone.write({ b: pattern(1000, 2) });
  await stageIdle(second, rig);
  await machine.write({ b: pattern(1000, 3) });
  await committed(first);
  rig.later(2 * HOUR);
  await rig.prune(1);
  expect(await commitJob(second)).toMatchObject({ kind: 'failed', code: 'conflict' });
  await rig.expectRestored(machine);
  await second.close();
  const third = clone.start();
  await committed(third);
  rig.later(2 * HOUR);
  await rig.prune(1);
  await rig.expectRestored(clone);
  await machine.write({ b: pattern(1000, 4) });
  expect(await commitJob(first)).toMatchObject({ kind: 'failed', code: 'conflict' });
  await rig.expectRestored(clone);
});

test('a machine that slept while another one took its set over has a conflict when it wakes', async () => {
  await using rig = createRig();
  await using sleeper = await rig.machine();
  await using other = await rig.machine('vm-2');
  let slept = 0;
  const clock = { ...rig.clock, monotonicMs: () => rig.clock.monotonicMs() - slept };
  const first = sleeper.start({}, { clock });
  await sleeper.write({ a: pattern(MIB) });
  await committed(first);
  await sleeper.write({ a: pattern(MIB, 2), staged: pattern(9 * MIB) });
  await stageIdle(first, rig);
  await other.write({ a: pattern(MIB, 3) });
  const second = other.start();
  await committed(second);
  rig.later(8 * HOUR);
  slept += 8 * HOUR;
  await other.write({ a: pattern(MIB, 4) });
  await committed(second);
  await rig.prune(1);
  expect(await commitJob(first)).toMatchObject({ kind: 'failed', code: 'conflict' });
  await rig.expectRestored(other);
});
