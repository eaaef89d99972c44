import { unreachable } from '../base/assert.ts';
import { EvictdError, messageOf } from '../base/errors.ts';
import { INITIAL_STATE, type State } from '../core/state.ts';
import type { Journal } from '../journal/journal.ts';
import type { Log } from '../observe/log.ts';

export interface Recalled {
  readonly state: State;
  /** What the loop is to be told first. */
  readonly news: { readonly kind: 'restarted' | 'rebooted' } | undefined;
}

const NOTHING: Recalled = { state: INITIAL_STATE, news: undefined };

/** What an earlier process knew. Whatever is wrong with it, the daemon starts: watching matters more than memory. */
export async function recall(journal: Journal | undefined, log: Log): Promise<Recalled> {
  if (journal === undefined) return NOTHING;
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
