import { createLocalWorkers } from '../support/local-workers.ts';
import type { Workers } from '../../src/checkpoint/worker/workers.ts';
import type { GuestProcess } from './guest.ts';

/** The work of the engine's threads, done by the process itself; each job takes its time, so that others come between. */
export function simulatedWorkers(process: GuestProcess): Workers {
  const { clock, doors } = process;
  const local = createLocalWorkers({ store: doors.store(process), clock });
  const soon = () => new Promise<void>((resolve) => void clock.timer(0, resolve));
  return {
    ...local,
    async list(job, signal) {
      await soon();
      return local.list(job, signal);
    },
    async look(job, signal) {
      await soon();
      return local.look(job, signal);
    },
    async compare(order, signal) {
      await soon();
      return local.compare(order, signal);
    },
  };
}
