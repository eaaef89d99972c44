import { forEachLimit } from '../base/concurrency.ts';
import { EvictdError } from '../base/errors.ts';
import { forEachInSlices } from '../base/slices.ts';
import { FILES, setPrefix } from './blob-name.ts';
import type { SetPlace } from './blob-name.ts';
import { listManifests, manifestName, readManifest } from './manifest.ts';
import type { ListedManifest } from './manifest.ts';
import type { Manifest, ManifestFile } from './schema.ts';
import type { BlobStore } from './store.ts';

export interface PruneOptions extends SetPlace {
  /**
   * So many of the newest usable checkpoints stay; at least 1. If none of them has files, the newest that has some stays
   * too: a folder that is empty by mistake must not cost what it had.
   */
  readonly keep: number;
  /** Only finds out what would be removed. */
  readonly dryRun: boolean;
  /** Also look for blobs that a removal which was cut short has left behind: this lists all blobs of the set. */
  readonly sweep?: boolean;
  /** Asked before each deletion: true ends the work early, which is always safe. */
  readonly stop?: () => boolean;
}

export interface PruneResult {
  readonly set: string;
  /** Ids, oldest first. */
  readonly removed: readonly string[];
  readonly snapshots: number;
  readonly blobs: number;
}

const DELETES_IN_FLIGHT = 16;

/**
 * Removes all but the newest checkpoints of a set, and what only those needed.
 *
 * A manifest goes before what it names, so every manifest that exists can be restored, whenever this ends. A crash
 * leaves behind at most what one removed checkpoint named: its blobs go at the next sweep, a snapshot with its blob.
 *
 * It is safe beside a commit, of whichever process, because of what a commit does:
 * - It takes over a snapshot only from the newest manifest, which always stays, or makes a new one. Only snapshots that
 *   a removed manifest names, and no other, are removed here.
 * - A blob that the newest manifest doesn't name is always written anew before it is named again, which changes its
 *   ETag. Blobs are removed here only when no manifest names them any more, and only with the ETag that the last
 *   manifest to name them knew. A commit that finds its blob gone writes it from scratch.
 * - What was written for a checkpoint that isn't complete yet has an ETag that no manifest knows, and is younger than
 *   the newest manifest, which is what a sweep goes by.
 * The set's writer blob is left alone.
 *
 * Rejects `prune-blocked` when a checkpoint that stays can't be read, since what it needs isn't known then, or with what
 * the store rejects with.
 */
export async function pruneSet(
  options: PruneOptions,
  { store }: { readonly store: BlobStore },
  signal: AbortSignal,
): Promise<PruneResult> {
  const { plans, named, newest } = await planRemoval(options, store, signal);
  const counts = { snapshots: 0, blobs: 0 };
  const removed: string[] = [];
  for (const plan of plans) {
    if (options.stop?.() === true) break;
    if (options.dryRun) {
      counts.blobs += plan.blobs.size;
      counts.snapshots += plan.snapshots.filter(({ blob }) => !plan.blobs.has(blob)).length;
    } else {
      await carryOut(plan, options, store, counts, signal);
    }
    removed.push(plan.manifest.id);
  }
  if (options.sweep === true && newest !== undefined) {
    await sweep(options, store, { named, newest }, counts, signal);
  }
  return { set: options.set, removed, ...counts };
}

/** What goes with one checkpoint: it is the newest that names it. */
interface Plan {
  readonly manifest: ListedManifest;
  /** Relative to the set, with the ETag that the manifest knows. */
  readonly blobs: Map<string, string>;
  readonly snapshots: { readonly blob: string; readonly snapshot: string }[];
}

interface Removal {
  /** Oldest first. */
  readonly plans: readonly Plan[];
  /** Blobs that any manifest names, and their snapshots. */
  readonly named: ReadonlySet<string>;
  readonly newest: ListedManifest | undefined;
}

async function planRemoval(options: PruneOptions, store: BlobStore, signal: AbortSignal): Promise<Removal> {
  const listed = await listManifests(store, options, signal);
  const newest = listed.at(-1);
  const named = new Set<string>();
  const plans: Plan[] = [];
  if (listed.length <= options.keep && options.sweep !== true) return { plans, named, newest };
  let staying = 0;
  let hasFiles = false;
  for (const manifest of listed.toReversed()) {
    const content = await readOrUndefined(store, options, manifest, signal);
    if (staying < options.keep || (!hasFiles && content !== undefined && content.files.length > 0)) {
      if (content === undefined) throw blocked(options, manifest);
      staying++;
      hasFiles ||= content.files.length > 0;
      await forEachInSlices(
        content.files,
        (file) => void named.add(file.blob).add(snapshotKey(file)),
        signal,
      );
      continue;
    }
    const plan: Plan = { manifest, blobs: new Map(), snapshots: [] };
    const enter = ({ blob, snapshot, etag }: ManifestFile) => {
      const key = snapshotKey({ blob, snapshot });
      if (!named.has(blob)) plan.blobs.set(blob, etag);
      if (!named.has(key)) plan.snapshots.push({ blob, snapshot });
      named.add(blob).add(key);
    };
    await forEachInSlices(content?.files ?? [], enter, signal);
    plans.unshift(plan);
  }
  return { plans, named, newest };
}

async function carryOut(
  { manifest, blobs, snapshots }: Plan,
  options: PruneOptions,
  store: BlobStore,
  counts: { snapshots: number; blobs: number },
  signal: AbortSignal,
): Promise<void> {
  const prefix = setPrefix(options);
  await store.remove(prefix + manifestName(manifest.id), { ifEtag: manifest.etag }, signal);
  const gone = new Set<string>();
  await forEachLimit(blobs, DELETES_IN_FLIGHT, signal, async ([blob, etag], inner) => {
    if (options.stop?.() === true || !(await removeUnchanged(store, prefix + blob, etag, inner))) return;
    gone.add(blob);
    counts.blobs++;
  });
  const left = snapshots.filter(({ blob }) => !gone.has(blob));
  await forEachLimit(left, DELETES_IN_FLIGHT, signal, async ({ blob, snapshot }, inner) => {
    if (options.stop?.() === true) return;
    await store.remove(prefix + blob, { snapshot }, inner);
    counts.snapshots++;
  });
}

/** Blobs that no manifest has named, and that nobody has written since the newest checkpoint was complete. */
async function sweep(
  options: PruneOptions,
  store: BlobStore,
  { named, newest }: { readonly named: ReadonlySet<string>; readonly newest: ListedManifest },
  counts: { blobs: number },
  signal: AbortSignal,
): Promise<void> {
  const prefix = setPrefix(options);
  for await (const { name, etag, modifiedAt } of store.list(prefix + FILES, signal)) {
    if (options.stop?.() === true) return;
    if (named.has(name.slice(prefix.length)) || modifiedAt >= newest.writtenAt) continue;
    if (options.dryRun || (await removeUnchanged(store, name, etag, signal))) counts.blobs++;
  }
}

/** With all its snapshots; false when somebody has written it. */
async function removeUnchanged(
  store: BlobStore,
  name: string,
  etag: string,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    await store.remove(name, { ifEtag: etag }, signal);
    return true;
  } catch (error) {
    if (error instanceof EvictdError && error.code === 'conflict') return false;
    throw error;
  }
}

async function readOrUndefined(
  store: BlobStore,
  place: SetPlace,
  { id }: ListedManifest,
  signal: AbortSignal,
): Promise<Manifest | undefined> {
  try {
    return await readManifest(store, place, id, signal);
  } catch (error) {
    // Gone meanwhile: somebody else prunes.
    if (error instanceof EvictdError && ['bad-manifest', 'not-found'].includes(error.code)) return undefined;
    throw error;
  }
}

function snapshotKey({ blob, snapshot }: { readonly blob: string; readonly snapshot: string }): string {
  return `${snapshot} ${blob}`;
}

function blocked({ set }: PruneOptions, { id }: ListedManifest): EvictdError {
  return new EvictdError(
    'prune-blocked',
    `nothing is pruned of ${set}: the manifest of its checkpoint ${id} can't be read, so what it needs isn't known`,
    { remedy: 'remove that manifest if the checkpoint is of no use, or wait for newer checkpoints' },
  );
}
