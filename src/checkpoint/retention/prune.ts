import { forEachLimit } from '../../base/concurrency.ts';
import { hasCode } from '../../base/errors.ts';
import type { PackName } from '../format/chunk.ts';
import { PACKS, type SetPlace, entryName, parsePackName, setPrefix } from '../format/names.ts';
import { type ListedEntries, listEntries } from '../index/entries.ts';
import { type ListedPack, listPacks } from '../index/list-packs.ts';
import type { BlobStore } from '../store/store.ts';
import { type Hold, isHolding, isRecent, listHolds } from './holds.ts';
import { type DropNamed, blocked, createDropNamed, lookAtEntries } from './prune-look.ts';
import { type Keep, type Looked, choose, stagedPacks } from './retain.ts';

export interface PruneOptions {
  readonly place: SetPlace;
  readonly keep: Keep;
  /** Only finds out what would be removed. */
  readonly dryRun: boolean;
  /** Asked before each deletion: true ends the work early, which is always safe. */
  readonly stop?: () => boolean;
}

export interface PruneResult {
  readonly set: string;
  /** Ids of checkpoints, the oldest first. */
  readonly removed: readonly string[];
  readonly packs: number;
  /** Of manifests and packs. */
  readonly bytes: number;
  /** Of those, what the account keeps all the same (soft delete or versions), and bills. */
  readonly bytesRetained: number;
  /** Ids beyond what is kept that stay because of a hold, the oldest first. */
  readonly held: readonly string[];
  /** Ids beyond what is kept that the service doesn't let go (a policy or a lease), with their packs, the oldest first. */
  readonly refused: readonly string[];
  /** Packs of no use that the service doesn't let go. */
  readonly packsRefused: number;
  /** `stopped`: asked to; `changed`: somebody wrote meanwhile, and what is left is for the next time. */
  readonly end: 'done' | 'stopped' | 'changed';
}

const DELETES_IN_FLIGHT = 16;

/**
 * Removes the checkpoints of a set beyond those to keep, then the packs that no checkpoint needs.
 *
 * It is safe beside writers of the set and other prunings, on whichever machines:
 * - Packs are listed before entries. So a pack that it knows and that somebody is about to name belongs to the epoch of
 *   the newest entry then (or to one adopted by it), with a number above that epoch's newest checkpoint's: those stay.
 *   Anything else a writer takes over from the newest manifest, which stays, or it sends it anew.
 * - A manifest goes before its packs, so that one which is there can be restored, whenever this ends. What a crash leaves
 *   are packs that nobody names, which the next time removes.
 * - Before packs go, entries and holds are looked at again: a new entry, or a hold for a checkpoint that has just gone,
 *   ends it.
 *
 * Rejects `prune-blocked` when an entry that stays can't be read, since what it needs isn't known, or with what the store
 * rejects with.
 */
export async function pruneSet(
  options: PruneOptions,
  { store }: { readonly store: BlobStore },
  signal: AbortSignal,
): Promise<PruneResult> {
  const { place, keep, dryRun } = options;
  const work = createWork(options, store);
  const dropNamed = createDropNamed(store, place, signal);
  const packs = await listPacks(store, setPrefix(place) + PACKS, signal);
  const listed = await listEntries(store, place, signal);
  const entries = await lookAtEntries(store, place, listed.entries, signal);
  if (entries.at(-1)?.id !== listed.entries.at(-1)?.id) return work.result([], 'changed');
  const { holds, serverMs } = await listHolds(place, { store }, signal);
  const holding = new Set(holds.filter((hold) => isHolding(hold, serverMs)).map(({ id }) => id));
  const { going, held } = choose(entries, { keep, held: holding, serverMs: listed.serverMs });
  const dead = await deadPacks(packs, entries, { going, place, dropNamed });
  if (dead === undefined) return work.result(held, 'changed');

  const staying = await work.removeEntries(
    entries.filter(({ id }) => going.has(id)),
    signal,
  );
  if (work.isStopped()) return work.result(held, 'stopped');
  for (const id of staying) if (!(await dropNamed(dead, id))) return work.result(held, 'changed');
  if (!dryRun) await work.removeHolds(holds.filter(isOver(serverMs, entries)), signal);
  if (!dryRun && dead.size > 0 && (await isChanged(listed, place, store, signal))) {
    return work.result(held, 'changed');
  }
  await work.removePacks(dead, signal);
  return work.result(held, work.isStopped() ? 'stopped' : 'done');
}

/** Those of `packs` that nobody needs but what is going. Undefined: somebody else removes entries. */
async function deadPacks(
  packs: ReadonlyMap<PackName, ListedPack>,
  entries: readonly Looked[],
  options: { readonly going: ReadonlySet<string>; readonly place: SetPlace; readonly dropNamed: DropNamed },
): Promise<Map<PackName, ListedPack> | undefined> {
  const staying = entries.filter(({ id }) => !options.going.has(id));
  for (const entry of staying) {
    if (entry.kind === 'unreadable') throw blocked(options.place, entry.id, entry.error);
  }
  const isStaged = stagedPacks(entries);
  const dead = new Map(packs);
  for (const name of packs.keys()) {
    const pack = parsePackName(name);
    if (pack === undefined || isStaged(pack)) dead.delete(name);
  }
  for (const { kind, id } of staying) {
    if (kind === 'checkpoint' && dead.size > 0 && !(await options.dropNamed(dead, id))) return undefined;
  }
  return dead;
}

/** Whether somebody has written since `before`, or restores what has gone since. */
async function isChanged(
  before: ListedEntries,
  place: SetPlace,
  store: BlobStore,
  signal: AbortSignal,
): Promise<boolean> {
  const { entries } = await listEntries(store, place, signal);
  const { holds, serverMs } = await listHolds(place, { store }, signal);
  const known = new Set(before.entries.map(({ id }) => id));
  const there = new Set(entries.map(({ id }) => id));
  const [newest, newestNow] = [before.entries.at(-1), entries.at(-1)];
  return (
    newest?.id !== newestNow?.id ||
    newest?.modifiedAt !== newestNow?.modifiedAt ||
    entries.some(({ id }) => !known.has(id)) ||
    holds.some(({ id, since }) => !there.has(id) && isRecent(since, serverMs))
  );
}

/** Of a restore that is over, or for a checkpoint that is gone: whoever made it may have died. */
function isOver(serverMs: number, entries: readonly Looked[]): (hold: Hold) => boolean {
  const there = new Set(entries.map(({ id }) => id));
  return (hold) => !isHolding(hold, serverMs) || (!there.has(hold.id) && !isRecent(hold.since, serverMs));
}

function createWork({ place, dryRun, stop }: PruneOptions, store: BlobStore) {
  const prefix = setPrefix(place);
  const removed: string[] = [];
  const refused: string[] = [];
  const counts = { packs: 0, bytes: 0, bytesRetained: 0, packsRefused: 0 };
  let isStopped = false;
  const shouldStop = () => (isStopped ||= stop?.() === true);
  /** What became of it. */
  const remove = async (
    name: string,
    bytes: number,
    signal: AbortSignal,
  ): Promise<'removed' | 'absent' | 'kept'> => {
    try {
      const { outcome, isPermanent = true } = dryRun
        ? { outcome: 'removed' as const }
        : await store.remove(name, signal);
      if (outcome === 'absent') return outcome;
      counts.bytes += bytes;
      if (!isPermanent) counts.bytesRetained += bytes;
      return outcome;
    } catch (error) {
      if (hasCode(error, 'immutable', 'leased')) return 'kept';
      throw error;
    }
  };
  return {
    isStopped: () => isStopped,
    /** Answers the ids of those that the service keeps. */
    async removeEntries(going: readonly Looked[], signal: AbortSignal): Promise<readonly string[]> {
      const staying: string[] = [];
      await forEachLimit(going, DELETES_IN_FLIGHT, signal, async ({ kind, id, bytes }, inner) => {
        if (shouldStop()) return;
        const outcome = await remove(prefix + entryName(id), bytes, inner);
        if (outcome === 'kept') staying.push(id);
        if (kind === 'takeover') return;
        if (outcome === 'removed') removed.push(id);
        if (outcome === 'kept') refused.push(id);
      });
      return staying;
    },
    async removeHolds(holds: readonly Hold[], signal: AbortSignal): Promise<void> {
      for (const { name } of holds) if (!shouldStop()) await remove(name, 0, signal);
    },
    async removePacks(dead: ReadonlyMap<PackName, ListedPack>, signal: AbortSignal): Promise<void> {
      await forEachLimit(dead, DELETES_IN_FLIGHT, signal, async ([name, { bytes }], inner) => {
        if (shouldStop()) return;
        const outcome = await remove(prefix + PACKS + name, bytes, inner);
        if (outcome === 'removed') counts.packs++;
        if (outcome === 'kept') counts.packsRefused++;
      });
    },
    result: (held: readonly string[], end: PruneResult['end']): PruneResult => ({
      set: place.set,
      removed: removed.toSorted(),
      ...counts,
      held,
      refused: refused.toSorted(),
      end,
    }),
  };
}
