import { createDisk } from './disk.ts';
import { createDoors } from './doors.ts';
import { type Guest, type GuestProcess, createGuestClock, running } from './guest.ts';
import type { World } from './world.ts';

/** Another VM, with an empty disk. */
export function createOtherVm({ agenda }: World, name: string): Guest {
  const now = agenda.now();
  const disk = createDisk(() => BigInt(Math.floor(agenda.now())) * 1_000_000n);
  disk.mkdir('/data', 0o755);
  disk.mkdir('/state', 0o700);
  const times = { bootedAt: now, wallOffset: 0, rate: 1, frozenUntil: 0 };
  return { name, disk, bootId: `boot of ${name}`, ...times, isAlive: true };
}

/** A process beside the daemon, which lives until it is killed, or its guest is gone. `role`: whose state it has. */
export function startBeside(world: World, guest: Guest, role: string): GuestProcess {
  let isKilled = false;
  const process: GuestProcess = {
    guest,
    role,
    number: 0,
    stop: new AbortController(),
    isAlive: () => guest.isAlive && !isKilled,
    kill: () => void (isKilled = true),
    doors: createDoors(world),
    clock: createGuestClock(guest, world.agenda, world.random, (fire) => {
      if (process.isAlive()) running.run(process, fire);
    }),
  };
  world.besides.push(process);
  return process;
}
