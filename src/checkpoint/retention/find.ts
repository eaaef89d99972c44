import { EvictdError } from '../../base/errors.ts';
import type { Manifest } from '../format/manifest.ts';
import { type SetPlace, isCheckpointId, setPrefix } from '../format/names.ts';
import { listEntries, readEntry } from '../index/entries.ts';
import type { BlobStore } from '../store/store.ts';

export interface FoundCheckpoint {
  readonly manifest: Manifest;
  /** Of the manifest's blob, in hex. */
  readonly sha256: string;
  readonly bytes: number;
}

/**
 * A checkpoint by its id, or the newest. Rejects `nothing-found` when there is none, and otherwise as `readEntry` does.
 */
export async function findCheckpoint(
  place: SetPlace,
  id: string | undefined,
  store: BlobStore,
  signal: AbortSignal,
): Promise<FoundCheckpoint> {
  const ids =
    id === undefined
      ? (await listEntries(store, place, signal)).entries.map((entry) => entry.id).toReversed()
      : [id].filter(isCheckpointId);
  for (const one of ids) {
    const found = await readUnlessGone(place, one, store, signal);
    // What writers left when they took the set over is looked through.
    if (found?.entry.kind === 'checkpoint') return { ...found, manifest: found.entry };
  }
  const what = id === undefined ? 'no checkpoint' : `no checkpoint ${JSON.stringify(id)}`;
  throw new EvictdError('nothing-found', `there is ${what} in ${store.describe}, ${setPrefix(place)}`, {
    remedy: '`evictd checkpoints` lists what is there; --key names another VM',
  });
}

async function readUnlessGone(place: SetPlace, id: string, store: BlobStore, signal: AbortSignal) {
  try {
    return await readEntry(store, place, id, signal);
  } catch (error) {
    // Pruned since it was listed.
    if (error instanceof EvictdError && error.code === 'not-found') return undefined;
    throw error;
  }
}
