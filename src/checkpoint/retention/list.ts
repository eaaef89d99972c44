import { forEachLimit } from '../../base/concurrency.ts';
import type { Manifest } from '../format/manifest.ts';
import { type KeyPlace, type SetPlace, keyPrefix } from '../format/names.ts';
import { type ListedEntry, isUnusable, listEntries, readEntryIfThere } from '../index/entries.ts';
import { listFolders } from '../store/list-all.ts';
import type { BlobStore } from '../store/store.ts';
import { isHolding, listHolds } from './holds.ts';

export type ListedCheckpoint = {
  readonly set: string;
  readonly id: string;
  /** Why it isn't pruned, whatever is kept. */
  readonly held: 'keep' | 'restore' | null;
} & (
  | {
      readonly kind: 'usable';
      /** RFC 3339, by the writer's clock. */
      readonly createdAt: string;
      readonly reason: string;
      readonly files: number;
      readonly bytes: number;
      readonly bytesSent: number;
      readonly vmName: string;
      readonly vmId: string;
      /** Made at a deadline, without all that there was. */
      readonly partial: boolean;
      /** Entries that could not be had, so that it has an earlier version of them or none. */
      readonly lost: number;
      /** Entries that were being written to. */
      readonly changing: number;
    }
  | { readonly kind: 'unusable'; readonly detail: string }
);

const MANIFESTS_IN_FLIGHT = 8;
const LISTED_MAX = 1000;

/** Names of the sets that are in the store under a key, in order. Rejects with what the store rejects with. */
export async function listSets(
  place: KeyPlace,
  { store }: { readonly store: Pick<BlobStore, 'folders'> },
  signal: AbortSignal,
): Promise<readonly string[]> {
  const folders = await listFolders(store, `${keyPrefix(place)}sets/`, signal);
  return folders.map((name) => name.slice(0, -1)).sort();
}

/**
 * The checkpoints of one set, or of all sets under the key: by set, the newest first, at most the newest 1,000 of each
 * set. One that can't be read is listed as that; only the store's own errors reject.
 */
export async function listCheckpoints(
  place: KeyPlace & { readonly set?: string },
  dependencies: { readonly store: BlobStore },
  signal: AbortSignal,
): Promise<readonly ListedCheckpoint[]> {
  const { prefix, key } = place;
  const sets = place.set === undefined ? await listSets(place, dependencies, signal) : [place.set];
  const listed: ListedCheckpoint[] = [];
  for (const set of sets) listed.push(...(await listSet({ prefix, key, set }, dependencies.store, signal)));
  return listed;
}

async function listSet(
  place: SetPlace,
  store: BlobStore,
  signal: AbortSignal,
): Promise<readonly ListedCheckpoint[]> {
  const { entries } = await listEntries(store, place, signal);
  if (entries.length === 0) return [];
  const { holds, serverMs } = await listHolds(place, { store }, signal);
  const held = new Map<string, 'keep' | 'restore'>();
  for (const hold of holds) {
    if (isHolding(hold, serverMs) && held.get(hold.id) !== 'keep') held.set(hold.id, hold.kind);
  }
  const found = new Map<string, ListedCheckpoint>();
  await forEachLimit(
    entries.slice(-LISTED_MAX),
    MANIFESTS_IN_FLIGHT,
    signal,
    async ({ id }: ListedEntry, inner) => {
      const what = { set: place.set, id, held: held.get(id) ?? null };
      try {
        const entry = (await readEntryIfThere(store, place, id, inner))?.entry;
        if (entry?.kind === 'checkpoint') found.set(id, { ...what, kind: 'usable', ...summaryOf(entry) });
      } catch (error) {
        if (!isUnusable(error)) throw error;
        found.set(id, { ...what, kind: 'unusable', detail: error.message });
      }
    },
  );
  return entries.toReversed().flatMap(({ id }) => found.get(id) ?? []);
}

function summaryOf({ createdAt, reason, totals, writer, partial, lost, changing }: Manifest) {
  const { files, bytes, bytesSent } = totals;
  const { vmName, vmId } = writer;
  return {
    createdAt,
    reason,
    files,
    bytes,
    bytesSent,
    vmName,
    vmId,
    partial: partial !== undefined,
    lost: lost.count,
    changing: changing.count,
  };
}
