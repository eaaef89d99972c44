import type { PackName } from '../format/chunk.ts';
import { parsePackName } from '../format/names.ts';
import { listAll } from '../store/list-all.ts';
import type { BlobItem, BlobStore } from '../store/store.ts';

export type ListedPack = Pick<BlobItem, 'bytes' | 'isArchived'>;

/** The packs below `PREFIX/KEY/sets/SET/packs/`. Names that aren't ours are left out. Rejects as `listAll` does. */
export async function listPacks(
  store: Pick<BlobStore, 'list'>,
  packPrefix: string,
  signal: AbortSignal,
): Promise<Map<PackName, ListedPack>> {
  const packs = new Map<PackName, ListedPack>();
  for await (const { name, bytes, isArchived } of listAll(store, packPrefix, signal)) {
    const pack = name.slice(packPrefix.length);
    if (parsePackName(pack) !== undefined) packs.set(pack, { bytes, isArchived });
  }
  return packs;
}
