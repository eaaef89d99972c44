import { createDoors } from './doors.ts';
import { type Doors, type GuestProcess, createGuestClock } from './guest.ts';
import { connectStore } from './sim-store.ts';
import { type World, createWorld } from './world.ts';

const WORLD_STEP_MS = 100;

/** The store of a simulated world in which nothing goes wrong and time goes on by itself. */
export function calmStore() {
  const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
  const world = createWorld(1, turn, () => undefined);
  const { agenda, random, service } = world;
  const process = guestProcess(world, {});
  const weather = {
    trouble: () => 0,
    late: 0,
    bytesPerMs: 1000,
    latencyMs: 5,
    isKept: () => false,
    onEffect: () => undefined,
    onTorn: () => undefined,
  };
  const end = new AbortController();
  const isOpen = () => !end.signal.aborted;
  const time = (async () => {
    while (isOpen()) {
      await turn();
      await agenda.play(agenda.now() + WORLD_STEP_MS, isOpen);
    }
  })();
  return {
    store: connectStore(service, process, weather, { agenda, random }),
    close() {
      end.abort();
      return time;
    },
  };
}

/** A process in which nothing goes wrong but what `doors` do. */
export function guestProcess(world: World, doors: Partial<Doors>): GuestProcess {
  const { agenda, random, guest } = world;
  let isAlive = true;
  const calm = {
    crashPoint: () => undefined,
    diskTrouble: async () => undefined,
    pausePoint: async () => undefined,
  };
  return {
    guest,
    role: 'daemon',
    number: 1,
    stop: new AbortController(),
    isAlive: () => isAlive,
    kill: () => void (isAlive = false),
    doors: { ...createDoors(world), ...calm, ...doors },
    clock: createGuestClock(guest, agenda, random, (fire) => fire()),
  };
}
