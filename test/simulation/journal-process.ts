// The rules of the journal on the disk of the simulation; prints a line of JSON for each.
import { printRule } from '../support/rule-lines.ts';
import { openDoors } from './boot.ts';
import type { Doors } from './guest.ts';

const TURNS = 50;

async function main(): Promise<void> {
  openDoors([]);
  // Only now: what they import is to come through the doors.
  const { createJournal } = await import('../../src/journal/journal.ts');
  const { BOOT, journalRules } = await import('../journal/journal-contract.ts');
  const { fail } = await import('./disk.ts');
  const { running } = await import('./guest.ts');
  const { guestProcess } = await import('./calm-store.ts');
  const { createWorld } = await import('./world.ts');

  const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
  const world = createWorld(1, turn, () => undefined);
  const { disk } = world.guest;
  let folders = 0;
  const rules = journalRules({
    async folder() {
      const path = `/state/${++folders}`;
      disk.mkdir(path, 0o700);
      disk.flush();
      return path;
    },
    open(dir, bootId = BOOT) {
      const journal = createJournal({ dir, bootId });
      // In a process of its own, unless it is called in one that is to fail.
      const within = <T>(run: () => T): T =>
        running.getStore() === undefined ? running.run(guestProcess(world, {}), run) : run();
      return {
        file: journal.file,
        checkFolder: () => within(() => journal.checkFolder()),
        load: () => within(() => journal.load()),
        problem: () => within(() => journal.problem()),
        write: (state) => within(() => journal.write(state)),
      };
    },
    async read(path) {
      const fd = disk.open(path, 'r');
      return disk.content(fd).toString('utf8');
    },
    async write(path, content) {
      const bytes = Buffer.from(content);
      disk.write(disk.open(path, 'w', 0o600), bytes, 0, bytes.length, 0);
    },
    names: async (dir) => disk.readdir(dir),
    link: async (target, path) => disk.symlink(target, path),
    fragile: {
      async failAt(n, code, act) {
        let changes = 0;
        const diskTrouble = async () => {
          if (changes++ === n) fail(code, 'simulated');
        };
        const error = await running
          .run(guestProcess(world, { diskTrouble }), act)
          .catch((thrown: unknown) => thrown);
        if (changes > n && error === undefined)
          throw new Error(`nobody was told of change ${n}, which failed`);
        return error;
      },
      async dieAt(n, act) {
        let moments = 0;
        const crashPoint: Doors['crashPoint'] = (process, what) => {
          if (moments++ === n) process.kill(what);
        };
        void running.run(guestProcess(world, { crashPoint }), act);
        // What is dead never settles.
        for (let turns = 0; turns < TURNS; turns++) await turn();
        disk.losePower(() => world.random.chance(0.5));
        return moments > n;
      },
    },
  });
  for (const rule of rules) await printRule(rule);
}

await main();
