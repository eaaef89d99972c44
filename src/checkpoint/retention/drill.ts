import { forEachLimit } from '../../base/concurrency.ts';
import { hasCode } from '../../base/errors.ts';
import { type KeyPlace, keyPrefix } from '../format/names.ts';
import { listAll } from '../store/list-all.ts';
import type { BlobStore } from '../store/store.ts';

const REMOVALS_IN_FLIGHT = 16;

/**
 * Removes what rehearsals of this key have left below `PREFIX/KEY/drill/`, where nothing else ever is, also those that
 * were killed. The packs that they sent count for the real sets and stay. Answers how many blobs went; those that the
 * service doesn't let go stay. Rejects with what the store rejects with.
 */
export async function cleanUpDrill(
  place: KeyPlace,
  { store }: { readonly store: BlobStore },
  signal: AbortSignal,
): Promise<number> {
  let removed = 0;
  const names: string[] = [];
  for await (const { name } of listAll(store, `${keyPrefix(place)}drill/`, signal)) names.push(name);
  await forEachLimit(names, REMOVALS_IN_FLIGHT, signal, async (name, inner) => {
    try {
      if ((await store.remove(name, inner)).outcome === 'removed') removed++;
    } catch (error) {
      if (!hasCode(error, 'immutable', 'leased')) throw error;
    }
  });
  return removed;
}
