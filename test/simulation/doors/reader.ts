/** In place of `src/checkpoint/reader.ts`: what its threads do, done here, one job after the other. */
import type { ReadJob, ReadResult } from '../../../src/checkpoint/read-job.ts';
import { perform } from '../../../src/checkpoint/read-thread.ts';
import type { Reader } from '../../../src/checkpoint/reader.ts';
import { runningProcess } from '../guest.ts';

export function createReader(): Reader {
  const { clock } = runningProcess();
  return {
    run(job: ReadJob): Promise<ReadResult> {
      if (job.kind === 'fetch') throw new Error('the simulated store does not fetch by itself');
      return new Promise((resolve) => void clock.timer(0, () => resolve(perform(job))));
    },
    start: () => undefined,
    rest: () => undefined,
    close: () => undefined,
  };
}
