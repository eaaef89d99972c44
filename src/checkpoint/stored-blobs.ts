import { EvictdError } from '../base/errors.ts';
import { createGroup } from '../base/concurrency.ts';
import { FILES, setPrefix, WRITER } from './blob-name.ts';
import type { SetPlace } from './blob-name.ts';
import { contentIdOf } from './block-id.ts';
import { listCheckpointIds, readManifest } from './manifest.ts';
import type { Manifest } from './schema.ts';
import type { BlobStore } from './store.ts';

/**
 * What this process knows of one blob. It begins with what the store said at first use and goes on with our own
 * writes: another writer's are never taken over, they show as a conflict.
 */
export interface StoredBlob {
  /** Relative to the set. */
  readonly name: string;
  /** Of the committed blob; the condition of the next write. Undefined: there is none. */
  etag: string | undefined;
  /** The committed blob's content as block ids; undefined when not known. */
  content: readonly string[] | undefined;
  /** The snapshot of just that content. */
  snapshot: string | undefined;
  /** Ids that a commit could use: committed or staged. */
  readonly blocks: Set<string>;
  /** The service was asked for its block list (or we wrote it). */
  listed: boolean;
  /** What the newest manifest cut the file with. */
  blockSize: number | undefined;
}

/** What the store has of a set. */
export interface StoredSet {
  /** The newest checkpoint. */
  parent: string | undefined;
  /** ETag of the set's writer blob. */
  claimEtag: string | undefined;
  blob(name: string): StoredBlob;
}

/**
 * Asks the store what it has: who wrote last, the newest manifest, and the ETags of all file blobs.
 * The writer comes first: whoever writes after that has changed it, so that our own claim will show the conflict.
 * `onUnusable` hears of a newest manifest that can't be read; then all files are compared again, and nothing is lost.
 */
export async function loadStoredSet(
  store: BlobStore,
  place: SetPlace,
  signal: AbortSignal,
  onUnusable: (error: EvictdError) => void,
): Promise<StoredSet> {
  const prefix = setPrefix(place);
  const claim = await store.head(prefix + WRITER, signal);
  const blobs = new Map<string, StoredBlob>();
  let parent: string | undefined;
  let manifest: Manifest | undefined;
  const group = createGroup(signal);
  group.run(async (inner) => {
    for await (const item of store.list(prefix + FILES, inner)) {
      const name = item.name.slice(prefix.length);
      blobs.set(name, { ...unknownBlob(name), etag: item.etag });
    }
  });
  group.run(async (inner) => {
    parent = (await listCheckpointIds(store, place, inner)).at(-1);
    if (parent === undefined) return;
    try {
      manifest = await readManifest(store, place, parent, inner);
    } catch (error) {
      if (!(error instanceof EvictdError) || error.code !== 'bad-manifest') throw error;
      onUnusable(error);
    }
  });
  await group.settled();
  if (manifest !== undefined) recall(manifest, blobs);
  return {
    parent,
    claimEtag: claim?.etag,
    blob(name) {
      const known = blobs.get(name) ?? unknownBlob(name);
      blobs.set(name, known);
      return known;
    },
  };
}

/**
 * Asks for what is known of a blob's blocks, once: those that an earlier process, or an earlier VM, left there.
 * A blob that was written in one piece has no blocks; its metadata tells whether it holds `wanted`.
 */
export async function learnBlocks(
  store: BlobStore,
  prefix: string,
  blob: StoredBlob,
  wanted: readonly string[] | undefined,
  signal: AbortSignal,
): Promise<void> {
  if (blob.listed) return;
  const list = await store.blocks(prefix + blob.name, signal);
  for (const { id } of [...(list?.committed ?? []), ...(list?.uncommitted ?? [])]) blob.blocks.add(id);
  blob.listed = true;
  if (blob.etag === undefined || blob.content !== undefined) return;
  if (list !== undefined && list.committed.length > 0) {
    if (list.etag === blob.etag) blob.content = list.committed.map(({ id }) => id);
  } else if (wanted !== undefined) {
    const head = await store.head(prefix + blob.name, signal);
    if (head?.etag === blob.etag && head.metadata['evictd_content'] === contentIdOf(wanted))
      blob.content = wanted;
  }
}

/** Before the blocks are staged again: the service doesn't have what we thought it had. */
export function forgetBlocks(blob: StoredBlob): void {
  blob.blocks.clear();
  blob.listed = false;
}

function unknownBlob(name: string): StoredBlob {
  return {
    name,
    etag: undefined,
    content: undefined,
    snapshot: undefined,
    blocks: new Set(),
    listed: false,
    blockSize: undefined,
  };
}

/** A blob that is still the version of the manifest holds what the manifest says. */
function recall(manifest: Manifest, blobs: ReadonlyMap<string, StoredBlob>): void {
  for (const file of manifest.files) {
    const blob = blobs.get(file.blob);
    if (blob === undefined) continue;
    blob.blockSize = file.blockSize;
    if (blob.etag !== file.etag) continue;
    blob.content = file.blocks;
    blob.snapshot = file.snapshot;
    // A single block may have been written as a whole blob, and then it is no block that a commit could name.
    if (file.blocks.length > 1) for (const id of file.blocks) blob.blocks.add(id);
  }
}
