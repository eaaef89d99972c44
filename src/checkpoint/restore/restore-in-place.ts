import type { Entry } from '../format/entry.ts';
import type { Manifest } from '../format/manifest.ts';
import { setPrefix } from '../format/names.ts';
import { walkTree } from '../format/tree/tree.ts';
import { isUnusable } from '../index/entries.ts';
import { parentOf } from '../index/find-checkpoint.ts';
import { createPieceReader } from '../index/read-piece.ts';
import { hasContent } from './keep-files.ts';
import type { Local } from './keep-files.ts';
import { readRestoreState } from './target/markers.ts';
import type { RestoreMarker } from './target/markers.ts';
import { findNewerWork } from './newer-work.ts';
import { restoreOpened, withOpened } from './restore-set.ts';
import type { Opened, RestoreDependencies, RestoreOptions, RestoreResult } from './restore-set.ts';

export interface InPlaceOptions extends Omit<RestoreOptions, 'mark' | 'durable'> {
  /** Also over work that the checkpoint doesn't have. */
  readonly force: boolean;
  /** This machine; see markers.ts. Without, the folder's mark is never trusted. */
  readonly machine: string | undefined;
}

export type InPlaceOutcome =
  | { readonly kind: 'restored'; readonly result: RestoreResult; readonly manifest: Manifest }
  /** Nothing was done: `path` was changed or taken away after the checkpoint `id` was made, and that would be undone. */
  | { readonly kind: 'newer-on-disk'; readonly id: string; readonly path: string };

/**
 * Restores a set into its own folder, before the workload starts. The folder is marked while it is not complete, and once
 * it is. What a workload did since the checkpoint is not undone (see newer-work.ts): then nothing is touched at all.
 * (Such a disk survived the machine, or the machine was only restarted.) Of sets that lie in each other, the outer one
 * comes first. Rejects as `restoreSet` does.
 */
export async function restoreInPlace(
  options: InPlaceOptions,
  dependencies: RestoreDependencies,
  signal: AbortSignal,
): Promise<InPlaceOutcome> {
  const { force, machine = '', ...rest } = options;
  const wanted = { ...rest, mark: { machine }, durable: true };
  return withOpened(wanted, dependencies, signal, async (opened) => {
    const { chosen, context } = opened;
    if (!force && !context.target.isNew && readRestoreState(context.target.location).kind !== 'unfinished') {
      const path = await newerWork(opened, options, dependencies, signal);
      if (path !== undefined) return { kind: 'newer-on-disk', id: chosen.manifest.id, path };
    }
    const result = await restoreOpened(opened, wanted, dependencies, signal);
    return { kind: 'restored', result, manifest: chosen.manifest };
  });
}

/**
 * The mark of the restore that made a folder what it is, on this very machine, when that is all that is `wanted`.
 * Needs no store and no key, so that a restarted machine waits for nothing. Throws the error of the file.
 */
export function restoredBefore(
  folder: string,
  wanted: {
    readonly set: string;
    readonly key?: string;
    readonly id?: string;
    /** A checkpoint that an earlier boot left as it ended: what was restored before that may be damaged since. */
    readonly since?: { readonly key: string; readonly id: string } | undefined;
  },
  machine: string | undefined,
): RestoreMarker | undefined {
  const state = readRestoreState(folder);
  if (state.kind !== 'complete' || machine === undefined) return undefined;
  const { marker } = state;
  const { since = marker } = wanted;
  const fits =
    marker.key === since.key &&
    marker.id >= since.id &&
    marker.machine === machine &&
    marker.set === wanted.set &&
    (wanted.key ?? marker.key) === marker.key &&
    (wanted.id ?? marker.id) === marker.id;
  return fits ? marker : undefined;
}

function newerWork(
  { chosen: { manifest, selection }, context }: Opened,
  { place }: InPlaceOptions,
  { store }: RestoreDependencies,
  signal: AbortSignal,
): Promise<string | undefined> {
  async function* parentEntries(): AsyncGenerator<Entry> {
    try {
      const parent = await parentOf(manifest, place, store, signal);
      if (parent === undefined) return;
      const read = createPieceReader({ store, prefix: setPrefix(place) }, signal)(parent);
      yield* walkTree(parent.tree, read, signal);
    } catch (error) {
      // Without its list, nothing is known of it.
      if (!isUnusable(error)) throw error;
    }
  }
  const isSame = (local: Local) => hasContent(context, local, signal);
  return findNewerWork(
    { manifest, entries: () => selection.entries(), parentEntries },
    { target: context.target, attributes: context.attributes, isSame },
    signal,
  );
}
