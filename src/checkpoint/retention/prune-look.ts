import { forEachLimit } from '../../base/concurrency.ts';
import { EvictdError } from '../../base/errors.ts';
import type { PackName } from '../format/chunk.ts';
import { type SetPlace, entryName, setPrefix } from '../format/names.ts';
import { walkPackUses } from '../format/tree/tree.ts';
import { type ListedEntry, isUnusable, readEntryIfThere } from '../index/entries.ts';
import { isWholeCheckpoint } from '../index/find-checkpoint.ts';
import { createPieceReader } from '../index/read-piece.ts';
import type { BlobStore } from '../store/store.ts';
import type { Looked } from './retain.ts';

const READS_IN_FLIGHT = 8;
/** Reads entries; those that are gone meanwhile are left out. Rejects with what the store rejects with. */
export async function lookAtEntries(
  store: BlobStore,
  place: SetPlace,
  listed: readonly ListedEntry[],
  signal: AbortSignal,
): Promise<readonly Looked[]> {
  const looked = new Map<string, Looked>();
  await forEachLimit(listed, READS_IN_FLIGHT, signal, async (one, inner) => {
    const facts = await lookAt(store, place, one, inner);
    if (facts !== undefined) looked.set(one.id, facts);
  });
  return listed.flatMap(({ id }) => looked.get(id) ?? []);
}

async function lookAt(
  store: BlobStore,
  place: SetPlace,
  listed: ListedEntry,
  signal: AbortSignal,
): Promise<Looked | undefined> {
  try {
    const entry = (await readEntryIfThere(store, place, listed.id, signal))?.entry;
    if (entry === undefined) return undefined;
    const { epoch } = entry;
    if (entry.kind === 'takeover') return { ...listed, kind: 'takeover', epoch, adopts: entry.adopts };
    const hasFiles = entry.totals.files > 0;
    const isWhole = isWholeCheckpoint(entry);
    const isGuest = entry.guest === true;
    return { ...listed, kind: 'checkpoint', epoch, seq: entry.seq, hasFiles, isWhole, isGuest };
  } catch (error) {
    if (isUnusable(error)) return { ...listed, kind: 'unreadable', error };
    throw error;
  }
}

/** Takes out of `packs` what a checkpoint needs. Answers false when that is gone. Rejects `prune-blocked`, or as the store. */
export type DropNamed = (packs: Map<PackName, unknown>, id: string) => Promise<boolean>;

export function createDropNamed(store: BlobStore, place: SetPlace, signal: AbortSignal): DropNamed {
  const pieces = createPieceReader({ store, prefix: setPrefix(place) }, signal);
  return async (packs, id) => {
    try {
      const entry = (await readEntryIfThere(store, place, id, signal))?.entry;
      if (entry?.kind !== 'checkpoint') return entry !== undefined;
      for (const { name } of entry.metadata) packs.delete(name);
      for (const root of [entry.tree, entry.packs]) if (root !== null) packs.delete(root.pack);
      for await (const { name } of walkPackUses(entry.packs, pieces(entry), signal)) packs.delete(name);
      return true;
    } catch (error) {
      if (isUnusable(error)) throw blocked(place, id, error);
      throw error;
    }
  };
}

export function blocked(place: SetPlace, id: string, cause: EvictdError): EvictdError {
  const name = setPrefix(place) + entryName(id);
  return new EvictdError(
    'prune-blocked',
    `nothing is pruned of ${place.set}: its checkpoint ${id} can't be read, so what it needs isn't known: ${cause.message}`,
    {
      remedy:
        cause.code === 'manifest-version'
          ? 'prune with that version of evictd, or a newer one'
          : `wait until newer checkpoints have pushed it out, or delete ${name} if it is of no use`,
      cause,
    },
  );
}
