import { expect, test } from 'vitest';

import { createPace } from '../../../src/checkpoint/commit/pace.ts';
import { pruneSet } from '../../../src/checkpoint/retention/prune.ts';
import {
  PLACE,
  committed,
  laterClock,
  never,
  restoreJob,
  testCheckpointer,
} from '../../support/checkpoints.ts';
import { changeFile, pattern, readTree, testFolder, writeTree } from '../../support/file-tree.ts';
import { createMemoryBlobs } from '../../support/memory-blobs.ts';
import { MIB, entryBlob, packNames } from './rig.ts';

const IDLE = { idleMs: 0, pace: createPace({ bytesPerSecond: Infinity }, { clock: laterClock }) };

/** A set of which 20 MiB were staged in the background after its checkpoint, when the machine was reset. */
async function resetMachine() {
  const [from, state] = [await testFolder(), await testFolder()];
  const service = { aheadMs: 0 };
  const blobs = createMemoryBlobs({ wallMs: () => laterClock.wallMs() + service.aheadMs });
  const boot = (bootId: string, vmName = 'vm-1') =>
    testCheckpointer(blobs.connect(), from.path, { bootId, vmName, indexDirectory: state.path });
  await writeTree(from.path, { a: { kind: 'file', content: pattern(9 * MIB, 1) } });
  const first = boot('1');
  await committed(first);
  await writeTree(from.path, { b: { kind: 'file', content: pattern(20 * MIB, 2) } });
  await changeFile(`${from.path}/a`, pattern(9 * MIB, 3));
  await first.stageIdle('job', IDLE, never());
  await first.close();
  return {
    path: from.path,
    blobs,
    boot,
    async prune() {
      service.aheadMs += 2 * 3_600_000;
      await pruneSet({ place: PLACE, keep: 1, dryRun: false }, { store: blobs.connect() }, never());
    },
    async restored() {
      await using to = await testFolder();
      await restoreJob(blobs.connect(), to.path);
      return await readTree(to.path);
    },
    async [Symbol.asyncDispose]() {
      await from[Symbol.asyncDispose]();
      await state[Symbol.asyncDispose]();
    },
  };
}

test('what was staged before the machine was reset is not sent again, whoever prunes meanwhile', async () => {
  await using machine = await resetMachine();
  const { blobs, boot } = machine;
  const next = boot('2');
  await machine.prune();
  await next.prepare('job', never());
  await machine.prune();
  await next.stage('job', never());
  await machine.prune();
  const { bytesSent } = await committed(next);
  expect(bytesSent).toBeLessThan(8 * MIB);
  const takeover: unknown = JSON.parse(String(blobs.content(entryBlob('00000003'))));
  expect(takeover).toMatchObject({ kind: 'takeover', adopts: { epoch: expect.any(String) } });
  expect(await machine.restored()).toEqual(await readTree(machine.path));
  const before = packNames(blobs).length;
  await machine.prune();
  expect(await machine.restored()).toEqual(await readTree(machine.path));
  expect(packNames(blobs).length).toBeLessThan(before);
  await next.close();
});

test('nor is it relied on what is gone, or what another VM has taken over meanwhile', async () => {
  await using machine = await resetMachine();
  const { blobs, boot, path } = machine;
  await using state = await testFolder();
  const other = testCheckpointer(blobs.connect(), path, { vmName: 'vm-2', indexDirectory: state.path });
  await committed(other);
  await other.close();
  await changeFile(`${path}/b`, pattern(20 * MIB, 4));
  await machine.prune();
  const next = boot('2');
  await committed(next);
  expect(await machine.restored()).toEqual(await readTree(machine.path));
  await machine.prune();
  expect(await machine.restored()).toEqual(await readTree(machine.path));
  await next.close();
});

test('a boot after that, before there is a checkpoint, relies on nothing that may be pruned', async () => {
  await using machine = await resetMachine();
  const { boot } = machine;
  const second = boot('2');
  // Takes the set over, and has nothing to send.
  await second.stage('job', never());
  await second.close();
  const third = boot('3');
  await third.prepare('job', never());
  await machine.prune();
  await committed(third);
  expect(await machine.restored()).toEqual(await readTree(machine.path));
  await machine.prune();
  expect(await machine.restored()).toEqual(await readTree(machine.path));
  await third.close();
});
