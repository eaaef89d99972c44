import type { EvictdError } from '../../base/errors.ts';
import type { PackNumber } from '../format/names.ts';
import type { ListedEntry } from '../index/entries.ts';

/** The newest checkpoints that stay: so many, or those that any of the rules names. */
export type Keep = number | KeepRules;

export interface KeepRules {
  readonly last?: number;
  /** Of so many hours (UTC, by the server's clock) that have checkpoints, the newest of each. */
  readonly hourly?: number;
  /** The same of days. */
  readonly daily?: number;
}

/** What pruning has to know of an entry. */
export type Looked = ListedEntry &
  (
    | {
        readonly kind: 'checkpoint';
        readonly epoch: string;
        readonly seq: number;
        readonly hasFiles: boolean;
        /** Nothing is lost in it, nor left out at a deadline. */
        readonly isWhole: boolean;
        /** Whoever asked for it may not push out those of others. */
        readonly isGuest: boolean;
      }
    | {
        readonly kind: 'takeover';
        readonly epoch: string;
        readonly adopts: { readonly epoch: string; readonly seq: number } | null;
      }
    | { readonly kind: 'unreadable'; readonly error: EvictdError }
  );

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** Who lists, reads or writes something younger may still be at it. */
const YOUNG_MS = HOUR_MS;
/**
 * The id of a takeover that is removed can be taken by a writer that was paused before it. That one has its conflict all
 * the same, by the newest entry, which it finds above its own; but it is told sooner and writes nothing while the
 * takeover is there. A VM may be rebooted several times a day, so they can't stay for ever.
 */
const TAKEOVER_MS = 30 * DAY_MS;

export interface Choice {
  /** Ids to remove, the oldest first. */
  readonly going: ReadonlySet<string>;
  /** Ids that would go if nobody held them, the oldest first. */
  readonly held: readonly string[];
}

/**
 * Which entries go. Guests' checkpoints are counted by themselves. What stays in any case: the newest entry and the newest
 * takeover; of the checkpoints the newest with files, the newest whole one, and the newest that is both (a folder that is
 * empty by mistake, or a deadline, must not cost what there was before); whatever is younger than an hour.
 * `entries`: the oldest first. `held`: ids. `serverMs`: of the listing.
 */
export function choose(
  entries: readonly Looked[],
  options: { readonly keep: Keep; readonly held: ReadonlySet<string>; readonly serverMs: number },
): Choice {
  const { held, serverMs } = options;
  const checkpoints = entries.filter(({ kind }) => kind !== 'takeover').toReversed();
  const isOfGuest = (entry: Looked) => entry.kind === 'checkpoint' && entry.isGuest;
  const kept = new Set([
    ...keptIds(
      checkpoints.filter((entry) => !isOfGuest(entry)),
      options.keep,
    ),
    ...keptIds(checkpoints.filter(isOfGuest), options.keep),
  ]);
  const newest = entries.at(-1);
  const newestTakeover = entries.findLast(({ kind }) => kind === 'takeover');
  const seen = { files: false, whole: false, both: false };
  const isNeeded = (entry: Looked): boolean => {
    // What an unreadable one is worth nobody knows, as long as there is nothing good.
    if (entry.kind !== 'checkpoint') return !seen.both;
    const { hasFiles, isWhole } = entry;
    const isFirst =
      (hasFiles && !seen.files) || (isWhole && !seen.whole) || (hasFiles && isWhole && !seen.both);
    seen.files ||= hasFiles;
    seen.whole ||= isWhole;
    seen.both ||= hasFiles && isWhole;
    return isFirst;
  };
  const going: string[] = [];
  const heldBack: string[] = [];
  for (const entry of entries.toReversed()) {
    const ageMs = serverMs - entry.modifiedAt;
    if (entry.kind === 'takeover') {
      if (entry !== newestTakeover && ageMs > TAKEOVER_MS) going.unshift(entry.id);
      continue;
    }
    // Asked of each, since it remembers what it has seen.
    const isOfUse = isNeeded(entry);
    if (isOfUse || entry === newest || kept.has(entry.id) || ageMs <= YOUNG_MS) continue;
    (held.has(entry.id) ? heldBack : going).unshift(entry.id);
  }
  return { going: new Set(going), held: heldBack };
}

/** `checkpoints`: the newest first. */
function keptIds(checkpoints: readonly Looked[], keep: Keep): ReadonlySet<string> {
  const { last = 0, hourly = 0, daily = 0 } = typeof keep === 'number' ? { last: keep } : keep;
  const newestOfEach = (spanMs: number, count: number) => {
    const spans = new Map<number, string>();
    for (const { id, modifiedAt } of checkpoints) {
      const span = Math.floor(modifiedAt / spanMs);
      if (!spans.has(span) && spans.size < count) spans.set(span, id);
    }
    return spans.values();
  };
  const newest = checkpoints.slice(0, last).map(({ id }) => id);
  return new Set([...newest, ...newestOfEach(HOUR_MS, hourly), ...newestOfEach(DAY_MS, daily)]);
}

/**
 * Whether somebody may still be about to name a pack that no manifest names: one of the newest entry's epoch, or of the
 * epoch that the newest takeover adopts until it has a checkpoint of its own. What such an epoch had stored when it made
 * its newest checkpoint, and didn't name, it never names again.
 */
export function stagedPacks(entries: readonly Looked[]): (pack: PackNumber) => boolean {
  const newest = entries.at(-1);
  const checkpoints = entries.filter((entry) => entry.kind === 'checkpoint');
  const takeover = entries.findLast((entry) => entry.kind === 'takeover');
  const isBegun = checkpoints.some(({ epoch }) => epoch === takeover?.epoch);
  const adopted = isBegun ? null : (takeover?.adopts ?? null);
  const seqs = new Map<string, number>();
  for (const { epoch, seq } of checkpoints) seqs.set(epoch, Math.max(seq, seqs.get(epoch) ?? -1));
  return ({ epoch, seq }) => {
    if (seq <= (seqs.get(epoch) ?? -1)) return false;
    // Whatever the reason is that there is no entry (to be read), it isn't that nobody needs the packs.
    if (newest === undefined || newest.kind === 'unreadable' || epoch === newest.epoch) return true;
    return epoch === adopted?.epoch && seq <= adopted.seq;
  };
}
