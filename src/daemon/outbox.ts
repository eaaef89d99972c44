import { readFile } from 'node:fs/promises';
import path from 'node:path';

import { abandonOn, boundedSignal } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { EvictdError, isErrno, messageOf } from '../base/errors.ts';
import { replaceFile } from '../base/files/durable-file.ts';
import type { DrainNews } from '../observe/drain-news.ts';
import type { Teller } from '../observe/webhook.ts';

/**
 * INVARIANTS
 * - What is to be told is written down before it is told, and that it was told right after: a receiver hears it once,
 *   and twice (with the same id) only when the process was killed between the receiver's answer and that note.
 * - Nothing here is waited for by the drain.
 */
export interface Outbox {
  /** Tells what was not told before; the same news may come again and again. */
  offer(news: readonly DrainNews[]): void;
  /** Gives what is to be told another moment; what isn't done then is gone on with at the next start. */
  stop(): Promise<void>;
}

export interface OutboxDependencies {
  readonly clock: Clock;
  /** By name of the notification. */
  readonly tellers: ReadonlyMap<string, Teller>;
  /** Once it is also written down. */
  readonly onTold: (receiver: string, news: DrainNews) => void;
  readonly onFailed: (receiver: string, news: DrainNews, error: EvictdError) => void;
  /** Once when it begins to fail. */
  readonly onNotKept: (error: unknown) => void;
}

interface Entry {
  readonly news: DrainNews;
  /** Names of those who were told, or to whom it was given up. */
  readonly done: string[];
}

const FILE = 'outbox.json';
const ENTRIES_MAX = 64;
/** A notice that comes later is no news any more. */
const TELL_MS_MAX = 60_000;
const STALE_MS = 15 * 60_000;
/** A TLS handshake would hold up the start of the hooks. */
const HOOKS_FIRST_MS = 50;
const STOP_MS = 2000;
const KEEP_MS_MAX = 1000;

/** `dir`: where it is kept; undefined keeps it in memory only. */
export async function openOutbox(dir: string | undefined, dependencies: OutboxDependencies): Promise<Outbox> {
  const { clock, tellers } = dependencies;
  const stopping = new AbortController();
  const entries = new Map<string, Entry>();
  const underWay = new Set<Promise<void>>();
  const timers = new Map<Entry, Disposable>();
  const keep = createKeeper(dir, clock, () => [...entries.values()], dependencies.onNotKept);

  async function tell(receiver: string, teller: Teller, entry: Entry): Promise<void> {
    using bound = boundedSignal(clock, TELL_MS_MAX, stopping.signal);
    let failed: EvictdError | undefined;
    try {
      await teller(entry.news, bound.signal);
    } catch (error) {
      if (stopping.signal.aborted) return;
      failed = failure(error);
    }
    entry.done.push(receiver);
    await keep();
    if (failed === undefined) dependencies.onTold(receiver, entry.news);
    else dependencies.onFailed(receiver, entry.news, failed);
  }

  async function tellAll(entry: Entry): Promise<void> {
    await keep();
    if (stopping.signal.aborted) return;
    const open = [...tellers].filter(([receiver]) => !entry.done.includes(receiver));
    await Promise.all(open.map(([receiver, teller]) => tell(receiver, teller, entry)));
  }

  function begin(entry: Entry): void {
    timers.delete(entry);
    const work = tellAll(entry).finally(() => underWay.delete(work));
    underWay.add(work);
  }

  function beginSoon(entry: Entry): void {
    timers.set(
      entry,
      clock.timer(HOOKS_FIRST_MS, () => begin(entry)),
    );
  }

  for (const entry of await readEntries(dir, dependencies.onNotKept)) {
    entries.set(entry.news.id, entry);
    if (clock.wallMs() - entry.news.at < STALE_MS) beginSoon(entry);
  }
  return {
    offer(news) {
      for (const one of news) {
        if (entries.has(one.id)) continue;
        const entry = { news: one, done: [] };
        entries.set(one.id, entry);
        // The oldest go first; they were told long ago.
        for (const id of [...entries.keys()].slice(0, -ENTRIES_MAX)) entries.delete(id);
        beginSoon(entry);
      }
    },
    async stop() {
      for (const [entry, timer] of timers) {
        timer[Symbol.dispose]();
        begin(entry);
      }
      using _limit = clock.timer(STOP_MS, () => stopping.abort());
      await Promise.all(underWay);
    },
  };
}

/** Writes one after the other; a burst of changes is written once. Never rejects, and a disk that hangs is not waited for. */
function createKeeper(
  dir: string | undefined,
  clock: Clock,
  entries: () => readonly Entry[],
  onNotKept: (error: unknown) => void,
): () => Promise<void> {
  let last: Promise<void> = Promise.resolve();
  let waiting: Promise<void> | undefined;
  let fails = false;
  const write = async (file: string) => {
    waiting = undefined;
    await replaceFile(file, [JSON.stringify({ version: 1, entries: entries() })]);
  };
  return async () => {
    if (dir === undefined) return;
    last = waiting ??= last.catch(() => undefined).then(() => write(path.join(dir, FILE)));
    using bound = boundedSignal(clock, KEEP_MS_MAX);
    try {
      await abandonOn(bound.signal, last);
      fails = false;
    } catch (error) {
      if (!fails) onNotKept(error);
      fails = true;
    }
  };
}

/** From an unreadable file nothing is known: what the journal still says is told again. */
async function readEntries(
  dir: string | undefined,
  onUnreadable: (error: unknown) => void,
): Promise<readonly Entry[]> {
  if (dir === undefined) return [];
  try {
    const found: unknown = JSON.parse(await readFile(path.join(dir, FILE), 'utf8'));
    return isOutbox(found) ? found.entries : [];
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) onUnreadable(error);
    return [];
  }
}

function isOutbox(value: unknown): value is { readonly entries: readonly Entry[] } {
  if (typeof value !== 'object' || value === null || !('version' in value) || value.version !== 1)
    return false;
  return 'entries' in value && Array.isArray(value.entries) && value.entries.every(isEntry);
}

function isEntry(value: unknown): value is Entry {
  if (typeof value !== 'object' || value === null || !('news' in value) || !('done' in value)) return false;
  const { news, done } = value;
  if (!Array.isArray(done) || typeof news !== 'object' || news === null) return false;
  return 'id' in news && typeof news.id === 'string' && 'at' in news && typeof news.at === 'number';
}

function failure(error: unknown): EvictdError {
  return error instanceof EvictdError ? error : new EvictdError('notify-failed', messageOf(error));
}
