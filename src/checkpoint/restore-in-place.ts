import { lstat } from 'node:fs/promises';

import { isErrno } from '../base/errors.ts';
import { fileError } from './file-error.ts';
import { fsPath } from './path-name.ts';
import { isSameTime } from './restore-attributes.ts';
import { findManifest, restoreManifest } from './restore.ts';
import type { RestoreDependencies, RestoreOptions, RestoreResult } from './restore.ts';
import { readRestoreState } from './restore-marker.ts';
import type { Manifest, RestoreMarker } from './schema.ts';

export interface InPlaceOptions extends Omit<RestoreOptions, 'mark' | 'durable'> {
  /** Also over files that were changed after the checkpoint was made. */
  readonly force: boolean;
  /** This machine; see restore-marker.ts. Without, the folder's mark is never trusted. */
  readonly machine: string | undefined;
}

export type InPlaceOutcome =
  | { readonly kind: 'restored'; readonly result: RestoreResult }
  /** Nothing was done: `path` was changed after the checkpoint `id` was made, and would be lost. */
  | { readonly kind: 'newer-on-disk'; readonly id: string; readonly path: string };

/**
 * Restores a set into its own folder, before the workload starts. The folder is marked while it is not complete, and
 * once it is. What a workload wrote since the checkpoint is not overwritten: then nothing is touched at all.
 * (Such a disk survived the machine, or the machine was only restarted.)
 * Rejects as `restore` does.
 */
export async function restoreInPlace(
  options: InPlaceOptions,
  dependencies: RestoreDependencies,
  signal: AbortSignal,
): Promise<InPlaceOutcome> {
  const manifest = await findManifest(dependencies.store, options, signal);
  const { kind } = await readRestoreState(options.target);
  if (!options.force && kind !== 'unfinished') {
    const path = await newerFile(options.target, manifest, signal);
    if (path !== undefined) return { kind: 'newer-on-disk', id: manifest.id, path };
  }
  const mark = { machine: options.machine ?? '' };
  const result = await restoreManifest(manifest, { ...options, mark, durable: true }, dependencies, signal);
  return { kind: 'restored', result };
}

/**
 * The mark of the restore that made a folder what it is, on this very machine, when that is all that is `wanted`.
 * Needs no store and no key, so that a restarted machine waits for nothing.
 */
export async function restoredBefore(
  folder: string,
  wanted: { readonly set: string; readonly key?: string; readonly id?: string },
  machine: string | undefined,
): Promise<RestoreMarker | undefined> {
  const state = await readRestoreState(folder);
  if (state.kind !== 'complete' || machine === undefined) return undefined;
  const { marker } = state;
  const fits =
    marker.machine === machine &&
    marker.set === wanted.set &&
    (wanted.key ?? marker.key) === marker.key &&
    (wanted.id ?? marker.id) === marker.id;
  return fits ? marker : undefined;
}

/** A file of the checkpoint that was written to after the checkpoint was made, by the guests' clocks. */
async function newerFile(
  folder: string,
  manifest: Manifest,
  signal: AbortSignal,
): Promise<string | undefined> {
  const madeAtNs = BigInt(Date.parse(manifest.createdAt)) * 1_000_000n;
  for (const { path, mtimeNs } of manifest.files) {
    signal.throwIfAborted();
    const actualNs = await modifiedAt(folder, path);
    // A time that the checkpoint knows already is no news, however wrong the clock was.
    if (actualNs !== undefined && actualNs > madeAtNs && !isSameTime(actualNs, mtimeNs)) return path;
  }
  return undefined;
}

async function modifiedAt(folder: string, path: string): Promise<bigint | undefined> {
  try {
    const stats = await lstat(fsPath(folder, path), { bigint: true });
    return stats.isFile() ? stats.mtimeNs : undefined;
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw fileError(error, path);
  }
}
