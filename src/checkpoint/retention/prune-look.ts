import { forEachLimit } from '../../base/concurrency.ts';
import { EvictdError } from '../../base/errors.ts';
import type { PackName } from '../format/chunk.ts';
import { type SetPlace, entryName, setPrefix } from '../format/names.ts';
import { walkPackUses } from '../format/tree.ts';
import { type ListedEntry, readEntry } from '../index/entries.ts';
import type { BlobStore } from '../store/store.ts';
import { createPieceReader } from './pieces.ts';
import type { Looked } from './retain.ts';

const READS_IN_FLIGHT = 8;
/** What an entry, or a piece of its table, that can't be used is rejected with. */
const UNUSABLE = [
  'bad-manifest',
  'manifest-version',
  'bad-tree',
  'checkpoint-gone',
  'archived',
  'too-large',
  'bad-answer',
];

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
    const { entry } = await readEntry(store, place, listed.id, signal);
    const { epoch } = entry;
    if (entry.kind === 'takeover') return { ...listed, kind: 'takeover', epoch, adopts: entry.adopts };
    const hasFiles = entry.totals.files > 0;
    const isWhole = entry.partial === undefined && entry.lost.count === 0;
    return { ...listed, kind: 'checkpoint', epoch, seq: entry.seq, hasFiles, isWhole };
  } catch (error) {
    if (isCode(error, ['not-found'])) return undefined;
    if (isCode(error, UNUSABLE)) return { ...listed, kind: 'unreadable', error };
    throw error;
  }
}

/** Takes out of `packs` what a checkpoint needs. Answers false when that is gone. Rejects `prune-blocked`, or as the store. */
export type DropNamed = (packs: Map<PackName, unknown>, id: string) => Promise<boolean>;

export function createDropNamed(store: BlobStore, place: SetPlace, signal: AbortSignal): DropNamed {
  const pieces = createPieceReader({ store, prefix: setPrefix(place) }, signal);
  return async (packs, id) => {
    try {
      const { entry } = await readEntry(store, place, id, signal);
      if (entry.kind === 'takeover') return true;
      for (const { name } of entry.metadata) packs.delete(name);
      for (const root of [entry.tree, entry.packs]) if (root !== null) packs.delete(root.pack);
      for await (const { name } of walkPackUses(entry.packs, pieces(entry.hash), signal)) packs.delete(name);
      return true;
    } catch (error) {
      if (isCode(error, ['not-found'])) return false;
      if (isCode(error, UNUSABLE)) throw blocked(place, id, error);
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

export function isCode(error: unknown, codes: readonly string[]): error is EvictdError {
  return error instanceof EvictdError && codes.includes(error.code);
}
