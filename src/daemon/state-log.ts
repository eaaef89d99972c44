import { type EvictdError, messageOf } from '../base/errors.ts';
import { unwritable } from '../journal/journal.ts';
import type { Log } from '../observe/log.ts';

/** Whether the state can be kept: said when it begins to fail and when it works again. */
export interface StateLog {
  onPersistFailed(error: unknown): void;
  onPersistWorks(): void;
  problem(): EvictdError | undefined;
}

export function createStateLog(dir: string, log: Log): StateLog {
  let problem: EvictdError | undefined;
  return {
    onPersistFailed(error) {
      problem = unwritable(dir, error);
      log.error('state not kept, continuing', { detail: messageOf(error), remedy: problem.remedy });
    },
    onPersistWorks() {
      problem = undefined;
      log.info('state is kept again');
    },
    problem: () => problem,
  };
}
