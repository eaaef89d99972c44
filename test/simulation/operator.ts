import { running } from './guest.ts';
import type { World } from './world.ts';

/** systemd asks the daemon to end. */
export function stopDaemon({ process }: World): void {
  if (process !== undefined) running.run(process, () => process.stop.abort());
}

/** As `evictd checkpoint` does. */
export function askForCheckpoint(world: World): void {
  const { handlers, agenda, rules, process } = world;
  const since = agenda.now();
  world.trace('asked for a checkpoint');
  if (handlers === undefined || process === undefined) return;
  const asked = running.run(process, () =>
    handlers.checkpoint({ takeOver: false, isGuest: false }, new AbortController().signal),
  );
  void asked.then(
    (answer) => {
      // The answer of the control socket: see CheckpointAnswer.
      const { sets } = answer as {
        sets: readonly { set: string; kind: string; id?: string; code?: string }[];
      };
      for (const { set, kind, id, code } of sets) {
        if (code === 'conflict') rules.onConflict(set);
        world.trace(`answered: ${set} ${kind} ${id}`);
        if (kind !== 'committed' || id === undefined || !process.isAlive()) continue;
        rules.onClaim(process, { set, id, since });
      }
    },
    // It may be starting, or end meanwhile: then it has promised nothing.
    () => undefined,
  );
}
