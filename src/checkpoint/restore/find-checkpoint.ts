import { EvictdError } from '../../base/errors.ts';
import type { Manifest } from '../format/manifest.ts';
import { isCheckpointId, setPrefix } from '../format/names.ts';
import type { SetPlace } from '../format/names.ts';
import { listEntries, readEntry } from '../index/entries.ts';
import type { BlobStore } from '../store/store.ts';

export interface Wanted {
  readonly place: SetPlace;
  /** A checkpoint's id; the newest one without. */
  readonly at?: string;
  /** Only one that has everything: neither partial nor with entries that were lost. */
  readonly whole?: boolean;
}

/**
 * The checkpoints that may be taken, the newest first; with `at`, that one. What writers left when they took the set over
 * is looked through. Rejects `nothing-found` when there is none, `bad-manifest` or `manifest-version` for one that can't
 * be read, or what the store rejects with.
 */
export async function* findCheckpoints(
  { place, at, whole = false }: Wanted,
  store: BlobStore,
  signal: AbortSignal,
): AsyncGenerator<Manifest> {
  if (at !== undefined) {
    const manifest = isCheckpointId(at) ? await readManifest(place, at, store, signal) : undefined;
    if (manifest === undefined) throw nothingFound(place, store, `no checkpoint ${JSON.stringify(at)}`);
    yield manifest;
    return;
  }
  let isNone = true;
  const { entries } = await listEntries(store, place, signal);
  for (const { id } of entries.toReversed()) {
    const manifest = await readManifest(place, id, store, signal);
    if (manifest === undefined || (whole && !isWhole(manifest))) continue;
    isNone = false;
    yield manifest;
  }
  if (isNone) throw nothingFound(place, store, whole ? 'no whole checkpoint' : 'no checkpoint');
}

/** The checkpoint that one was made after; undefined when it is not there any more. Rejects as findCheckpoints. */
export async function parentOf(
  { parent }: Manifest,
  place: SetPlace,
  store: BlobStore,
  signal: AbortSignal,
): Promise<Manifest | undefined> {
  for (let next = parent; next !== null;) {
    const entry = await readUnlessGone(place, next.id, store, signal);
    if (entry === undefined || entry.kind === 'checkpoint') return entry;
    next = entry.parent;
  }
  return undefined;
}

export function isWhole({ partial, lost }: Manifest): boolean {
  return partial === undefined && lost.count === 0;
}

async function readManifest(
  place: SetPlace,
  id: string,
  store: BlobStore,
  signal: AbortSignal,
): Promise<Manifest | undefined> {
  const entry = await readUnlessGone(place, id, store, signal);
  return entry?.kind === 'checkpoint' ? entry : undefined;
}

async function readUnlessGone(place: SetPlace, id: string, store: BlobStore, signal: AbortSignal) {
  try {
    return (await readEntry(store, place, id, signal)).entry;
  } catch (error) {
    // Pruned since it was listed, or taken back by its writer.
    if (error instanceof EvictdError && error.code === 'not-found') return undefined;
    throw error;
  }
}

function nothingFound(place: SetPlace, store: BlobStore, what: string): EvictdError {
  return new EvictdError('nothing-found', `there is ${what} in ${store.describe}, ${setPrefix(place)}`, {
    remedy: '`evictd checkpoints` lists what is there; --key names another VM',
  });
}
