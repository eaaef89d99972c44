import type { Clock } from '../base/clock.ts';
import { EvictdError, messageOf } from '../base/errors.ts';

/** Keeps a set's file index on disk, beside the work and never in its way. */
export interface IndexSaver {
  /** The index has changed. */
  changed(): void;
  /** Begins to save what has changed, unless a commit is under way: then call it again after that. */
  begin(): void;
  /** Saves what has changed, and waits for it. A disk that hangs is given up after a while, and told. */
  finish(): Promise<void>;
}

export interface IndexSaverDependencies {
  readonly save: () => Promise<void>;
  readonly isCommitting: () => boolean;
  readonly clock: Clock;
  /** `index-unwritten`. */
  readonly onFailure: (error: EvictdError) => void;
}

const FINISH_MS_MAX = 5000;

/*
 * INVARIANTS
 * - One save at a time; what changes meanwhile is saved once, after it: the newest index wins.
 * - Nobody but `finish` waits for a save: a disk that hangs costs the next process time, and no checkpoint.
 */
export function createIndexSaver(
  { name }: { readonly name: string },
  { save, isCommitting, clock, onFailure }: IndexSaverDependencies,
): IndexSaver {
  let isDue = false;
  let saving: Promise<void> | undefined;

  const begin = () => {
    if (!isDue || saving !== undefined || isCommitting()) return;
    isDue = false;
    saving = save()
      .catch((error: unknown) => onFailure(indexUnwritten(name, messageOf(error), error)))
      .finally(() => {
        saving = undefined;
        begin();
      });
  };

  const settled = async () => {
    for (let current = saving; current !== undefined; current = saving) await current;
  };

  return {
    changed: () => void (isDue = true),
    begin,
    async finish() {
      const late = Promise.withResolvers<'late'>();
      using _timer = clock.timer(FINISH_MS_MAX, () => late.resolve('late'));
      begin();
      if ((await Promise.race([settled(), late.promise])) === 'late') {
        onFailure(indexUnwritten(name, `the disk did not answer within ${FINISH_MS_MAX} ms`));
      }
    },
  };
}

export function indexUnwritten(name: string, reason: string, cause?: unknown): EvictdError {
  return new EvictdError('index-unwritten', `the file index of ${name} can't be written: ${reason}`, {
    remedy: 'make room in state.dir; until then a restart reads all files again',
    cause,
  });
}
