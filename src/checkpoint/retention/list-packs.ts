import { EvictdError } from '../../base/errors.ts';
import type { PackName } from '../format/chunk.ts';
import { PACKS, type SetPlace, parsePackName, setPrefix } from '../format/names.ts';
import { listAll } from '../store/list-all.ts';
import type { BlobItem, BlobStore } from '../store/store.ts';

/** 8 TiB in packs of 8 MiB, 64 TiB in those of such a set; a listing that goes on is made up. */
const PACKS_MAX = 1_000_000;

/** The packs of a set. Names that aren't ours are left out. Rejects `bad-answer`, or as the store does. */
export async function listPacks(
  store: Pick<BlobStore, 'list'>,
  place: SetPlace,
  signal: AbortSignal,
): Promise<Map<PackName, Pick<BlobItem, 'bytes' | 'isArchived'>>> {
  const below = setPrefix(place) + PACKS;
  const packs = new Map<PackName, Pick<BlobItem, 'bytes' | 'isArchived'>>();
  for await (const { name, bytes, isArchived } of listAll(store, below, signal)) {
    const pack = name.slice(below.length);
    if (parsePackName(pack) !== undefined) packs.set(pack, { bytes, isArchived });
    if (packs.size > PACKS_MAX) {
      throw new EvictdError('bad-answer', `the listing of packs below ${below} has no end`, {
        remedy: 'check whether something stands between this machine and the storage account',
      });
    }
  }
  return packs;
}
