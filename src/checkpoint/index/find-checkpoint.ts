import { EvictdError } from '../../base/errors.ts';
import type { Manifest } from '../format/manifest.ts';
import { type SetPlace, isCheckpointId, setPrefix } from '../format/names.ts';
import type { BlobStore } from '../store/store.ts';
import { type ReadEntry, listEntries, readEntryIfThere } from './entries.ts';

export interface Wanted {
  readonly place: SetPlace;
  /** A checkpoint's id; the newest one without. */
  readonly at?: string | undefined;
  /** Only one that has everything: neither partial nor with entries that were lost. */
  readonly whole?: boolean;
}

export type FoundCheckpoint = Pick<ReadEntry, 'sha256' | 'bytes'> & { readonly manifest: Manifest };

/**
 * The checkpoints that may be taken, the newest first; with `at`, that one. What writers left when they took the set over
 * is looked through. Rejects `nothing-found` when there is none, or as `readEntry` does.
 */
export async function* findCheckpoints(
  { place, at, whole = false }: Wanted,
  store: BlobStore,
  signal: AbortSignal,
): AsyncGenerator<FoundCheckpoint> {
  const ids =
    at === undefined
      ? (await listEntries(store, place, signal)).entries.map(({ id }) => id).toReversed()
      : [at].filter(isCheckpointId);
  const onlyWhole = whole && at === undefined;
  let isNone = true;
  for (const id of ids) {
    const found = await readEntryIfThere(store, place, id, signal);
    if (found?.entry.kind !== 'checkpoint') continue;
    const { entry: manifest, sha256, bytes } = found;
    if (onlyWhole && !isWholeCheckpoint(manifest)) continue;
    isNone = false;
    yield { manifest, sha256, bytes };
  }
  if (!isNone) return;
  const which = at === undefined ? '' : ` ${JSON.stringify(at)}`;
  throw nothingFound(place, store, `no ${onlyWhole ? 'whole ' : ''}checkpoint${which}`);
}

/** The first of those. */
export async function findCheckpoint(
  place: SetPlace,
  at: string | undefined,
  store: BlobStore,
  signal: AbortSignal,
): Promise<FoundCheckpoint> {
  for await (const found of findCheckpoints({ place, at }, store, signal)) return found;
  throw nothingFound(place, store, 'no checkpoint');
}

/** The checkpoint that one was made after; undefined when it is not there any more. Rejects as `readEntry` does. */
export async function parentOf(
  { parent }: Manifest,
  place: SetPlace,
  store: BlobStore,
  signal: AbortSignal,
): Promise<Manifest | undefined> {
  for (let next = parent; next !== null;) {
    const entry = (await readEntryIfThere(store, place, next.id, signal))?.entry;
    if (entry === undefined || entry.kind === 'checkpoint') return entry;
    next = entry.parent;
  }
  return undefined;
}

export function isWholeCheckpoint({ partial, lost }: Manifest): boolean {
  return partial === undefined && lost.count === 0;
}

function nothingFound(place: SetPlace, store: BlobStore, what: string): EvictdError {
  return new EvictdError('nothing-found', `there is ${what} in ${store.describe}, ${setPrefix(place)}`, {
    remedy: '`evictd checkpoints` lists what is there; --key names another VM',
  });
}
