import { createCheckpointer } from '../../src/checkpoint/checkpointer.ts';
import { createDisk } from './disk.ts';
import { createDoors } from './doors.ts';
import { type Guest, type GuestProcess, createGuestClock, running } from './guest.ts';
import { createWorkload } from './workload.ts';
import type { World } from './world.ts';

export const PREFIX = 'p';
export const KEY = 'job';

const COMMIT_MS = 60_000;

/** Another VM, on which nothing goes wrong. */
export function createOtherVm({ agenda }: World, name: string): Guest {
  const disk = createDisk(() => BigInt(Math.floor(agenda.now())) * 1_000_000n);
  const bootedAt = agenda.now();
  return { name, disk, bootId: 'other', bootedAt, wallOffset: 0, rate: 1, frozenUntil: 0, isAlive: true };
}

/** A process beside the daemon, which lives as long as its guest. */
export function startBeside(world: World, guest: Guest): GuestProcess {
  const process: GuestProcess = {
    guest,
    number: 0,
    stop: new AbortController(),
    isAlive: () => guest.isAlive,
    kill: () => undefined,
    doors: createDoors(world),
    clock: createGuestClock(guest, world.agenda, world.random, (fire) => running.run(process, fire)),
  };
  return process;
}

/**
 * Somebody else who commits to the same checkpoints: `evictd checkpoint` by itself on this VM, or another VM with the
 * same key, be it by mistake or because it was replaced and still lives.
 */
export function arrangeOtherWriter(world: World): void {
  const { agenda, plan, random } = world;
  const { otherWriter } = plan;
  if (otherWriter === undefined) return;
  const guest = otherWriter.isThisVm ? world.guest : createOtherVm(world, 'fleet_7');
  const sets = plan.config.checkpoint?.sets ?? [];
  if (!otherWriter.isThisVm) {
    const workloads = sets.map(({ name }) => createWorkload(name, guest.disk, agenda, random));
    world.workloads.set(guest.name, workloads);
    for (const at of otherWriter.commitsAt)
      agenda.at(at - 100, () => workloads.forEach((workload) => workload.work()));
  }
  const process = startBeside(world, guest);
  const writer = { vmName: guest.name, vmId: `id of ${guest.name}`, bootId: guest.bootId };
  for (const at of otherWriter.commitsAt) {
    agenda.at(at, () => {
      if (!guest.isAlive) return;
      world.trace(`another process of ${guest.name} commits`);
      running.run(process, () => {
        const options = { prefix: PREFIX, key: KEY, sets, writer };
        const dependencies = { store: process.doors.store(process), clock: process.clock };
        const checkpointer = createCheckpointer(options, dependencies);
        const bound = new AbortController();
        process.clock.timer(COMMIT_MS, () => bound.abort());
        for (const { name } of sets) void checkpointer.commit({ set: name, reason: 'command' }, bound.signal);
      });
    });
  }
}
