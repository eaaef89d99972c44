import type { Clock } from '../base/clock.ts';
import type { EvictdError } from '../base/errors.ts';
import { forEachInSlices } from '../base/slices.ts';
import { setPrefix, WRITER } from './blob-name.ts';
import type { SetPlace } from './blob-name.ts';
import { conflict } from './own-write.ts';
import type { Writer } from './own-write.ts';
import { isOwnVm } from './overtaken.ts';
import type { BlobStore } from './store.ts';
import { loadStoredSet } from './stored-blobs.ts';
import type { StoredBlob, StoredSet } from './stored-blobs.ts';

/** What the store has of a set: asked for once, and then kept up by what this process writes. */
export interface Base {
  /**
   * `thorough`: there is time to find out what was removed behind our back.
   * Rejects `conflict`, or what the store rejects with.
   */
  load(thorough: boolean, signal: AbortSignal): Promise<StoredSet>;
  /** Another process of this VM has written: the next load asks anew. */
  outdate(): void;
}

export interface BaseDependencies {
  readonly store: BlobStore;
  readonly clock: Clock;
  /** Of a newest manifest that can't be read. */
  readonly onUnusable: (error: EvictdError) => void;
}

/** Rules of the storage account can remove blobs and snapshots; a checkpoint must not name what is gone. */
const AGE_MS_MAX = 24 * 3_600_000;

export function createBase(
  { place, writer }: { readonly place: SetPlace; readonly writer: Writer },
  { store, clock, onUnusable }: BaseDependencies,
): Base {
  let stored: StoredSet | undefined;
  let isOutdated = false;
  let checkedAt = -Infinity;
  return {
    async load(thorough, signal) {
      const isOld = thorough && clock.monotonicMs() - checkedAt > AGE_MS_MAX;
      if (stored !== undefined && !isOutdated && !isOld) return stored;
      const fresh = await loadStoredSet(store, place, { snapshots: thorough }, signal, onUnusable);
      if (stored !== undefined) await goOnFrom(fresh, stored, writer, setPrefix(place) + WRITER);
      stored = fresh;
      isOutdated = false;
      // Snapshots that were not asked for will be, as soon as there is time.
      checkedAt = thorough ? clock.monotonicMs() : -Infinity;
      return fresh;
    },
    outdate: () => void (isOutdated = true),
  };
}

/**
 * Goes on from `fresh`, which was just loaded, in place of `earlier`, keeping what is still true of that. Throws
 * `conflict` when another VM has written meanwhile: its checkpoints are never taken over by a running process.
 */
async function goOnFrom(
  fresh: StoredSet,
  earlier: StoredSet,
  writer: Writer,
  claimName: string,
): Promise<void> {
  const { claim } = fresh;
  if (claim !== undefined && claim.etag !== earlier.claimEtag && !isOwnVm(writer, claim.metadata)) {
    throw conflict(writer, claimName, claim.metadata, undefined);
  }
  // Ids never go back, whatever was removed.
  if (earlier.parent !== undefined && earlier.parent > (fresh.parent ?? '')) fresh.parent = earlier.parent;
  await forEachInSlices(earlier.blobs(), (blob) => carryOver(blob, fresh.blob(blob.name)));
}

/** A blob that is still the same version: what was learned of its blocks counts, those that are only staged included. */
function carryOver(from: StoredBlob, to: StoredBlob): void {
  if (from.etag !== to.etag) return;
  to.blockSize ??= from.blockSize;
  to.listed ||= from.listed;
  for (const id of from.blocks) to.blocks.add(id);
  if (to.content !== undefined || !to.isNamed || !from.isNamed) return;
  to.content = from.content;
  to.zstd = from.zstd;
}
