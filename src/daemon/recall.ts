import { abandonOn, boundedSignal } from '../base/abort.ts';
import { unreachable } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import { EvictdError, messageOf } from '../base/errors.ts';
import { INITIAL_STATE, type State } from '../core/state.ts';
import type { Journal } from '../journal/journal.ts';
import type { Log } from '../observe/log.ts';

export interface Recalled {
  readonly state: State;
  /** What the loop is to be told first. */
  readonly news: { readonly kind: 'restarted' | 'rebooted' } | undefined;
}

/** A disk that hangs must not keep the daemon from watching. */
const RECALL_MS = 3000;

const NOTHING: Recalled = { state: INITIAL_STATE, news: undefined };

/** What an earlier process knew. Whatever is wrong with it, the daemon starts: watching matters more than memory. */
export async function recall(journal: Journal | undefined, log: Log, clock: Clock): Promise<Recalled> {
  if (journal === undefined) return NOTHING;
  using bound = boundedSignal(clock, RECALL_MS);
  try {
    return await abandonOn(bound.signal, recallFrom(journal, log));
  } catch (error) {
    if (!bound.signal.aborted) throw error;
    log.error('state can not be read in time, continuing without it', {
      file: journal.file,
      remedy: 'look at the disk of state.dir; a drain that was under way is not gone on with',
    });
    return NOTHING;
  }
}

async function recallFrom(journal: Journal, log: Log): Promise<Recalled> {
  try {
    await journal.checkFolder();
  } catch (error) {
    const remedy = error instanceof EvictdError ? error.remedy : undefined;
    log.error('state can not be kept, continuing: a restart in a drain would not know of it', {
      detail: messageOf(error),
      remedy,
    });
  }
  const found = await journal.load();
  switch (found.kind) {
    case 'nothing':
      return NOTHING;
    case 'same-boot':
      return { state: found.state, news: { kind: 'restarted' } };
    case 'earlier-boot':
      return { state: found.state, news: { kind: 'rebooted' } };
    case 'unreadable':
      log.error('journal unreadable, set aside, continuing with an empty one', {
        file: journal.file,
        reason: found.reason,
        setAside: found.setAside ?? 'could not be moved',
        remedy: 'nothing to do; look into the file if a drain was under way',
      });
      return NOTHING;
    default:
      return unreachable(found);
  }
}
