import type { WallMs } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
import { forEachInSlices } from '../base/slices.ts';
import { createGroup } from '../base/concurrency.ts';
import { FILES, setPrefix, WRITER } from './blob-name.ts';
import type { SetPlace } from './blob-name.ts';
import { contentIdOf } from './block-id.ts';
import { readHashKey } from './hash-key.ts';
import { listManifests, readManifest } from './manifest.ts';
import type { ListedManifest } from './manifest.ts';
import type { Manifest, ManifestFile } from './schema.ts';
import type { BlobHead, BlobItem, BlobStore, Written } from './store.ts';

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
  /** Bytes of each block's zstd frame, where that content is stored compressed. */
  zstd: readonly number[] | undefined;
  /** The snapshot of just that content. */
  snapshot: string | undefined;
  /** Ids that a commit could use: committed or staged. */
  readonly blocks: Set<string>;
  /** The service was asked for its block list (or we wrote it). */
  listed: boolean;
  /** What the newest manifest cut the file with. */
  blockSize: number | undefined;
  /**
   * The newest manifest names the blob, or it was written after that. Any other may be removed by retention as long as
   * nobody writes it: its content counts only once it was committed anew, which gives it another ETag. See prune.ts.
   */
  isNamed: boolean;
}

export interface NewestCheckpoint {
  readonly id: string;
  /** By the clock of the VM that made it. */
  readonly at: WallMs;
  readonly files: number;
}

/** What the store has of a set. */
export interface StoredSet {
  /** The newest checkpoint. */
  parent: string | undefined;
  /** Of the checkpoints that can be read, what a restore would take. */
  newest: NewestCheckpoint | undefined;
  /** ETag of the set's writer blob. */
  claimEtag: string | undefined;
  /** Who had written that when it was looked at. */
  readonly claim: BlobHead | undefined;
  /** With which its block ids are made; undefined: nobody has left one yet. */
  hashKey: string | undefined;
  /** Made when it isn't known yet. */
  blob(name: string): StoredBlob;
  /** All that are known. */
  blobs(): Iterable<StoredBlob>;
  readonly size: number;
}

export interface LoadOptions {
  /** Ask for the snapshots as well: one that is gone is made anew. Without it they are trusted, which is quicker. */
  readonly snapshots: boolean;
}

/**
 * Asks the store what it has: who wrote last, the newest manifest, and the ETags of all file blobs.
 * The writer comes first: whoever writes after that has changed it, so that our own claim will show the conflict.
 * `onUnusable` hears of a newest manifest that can't be read; then all files are compared again, and nothing is lost.
 */
export async function loadStoredSet(
  store: BlobStore,
  place: SetPlace,
  options: LoadOptions,
  signal: AbortSignal,
  onUnusable: (error: EvictdError) => void,
): Promise<StoredSet> {
  const prefix = setPrefix(place);
  const claim = await store.head(prefix + WRITER, signal);
  const items = new Map<string, BlobItem>();
  const snapshots = options.snapshots ? new Set<string>() : undefined;
  let newest: ListedManifest | undefined;
  let manifest: Manifest | undefined;
  let hashKey: string | undefined;
  const group = createGroup(signal);
  group.run(async (inner) => {
    for await (const item of store.list(prefix + FILES, inner, options)) {
      const name = item.name.slice(prefix.length);
      if (item.snapshot === undefined) items.set(name, item);
      else snapshots?.add(snapshotKey(name, item.snapshot));
    }
  });
  group.run(async (inner) => {
    newest = (await listManifests(store, place, inner)).at(-1);
    manifest = newest && (await readUsable(store, place, newest.id, inner, onUnusable));
    hashKey = manifest?.hashKey ?? (await readHashKey(store, prefix, inner, onUnusable));
  });
  await group.settled();
  const isNewer = (item: BlobItem) => newest === undefined || item.modifiedAt > newest.writtenAt;
  const blobs = new Map<string, StoredBlob>();
  await forEachInSlices(
    items.values(),
    (item) => {
      const name = item.name.slice(prefix.length);
      blobs.set(name, { ...unknownBlob(name), etag: item.etag, isNamed: isNewer(item) });
    },
    signal,
  );
  const known = { blobs, snapshots, zstd: store.zstd === true };
  await forEachInSlices(manifest?.files ?? [], (file) => recall(file, known), signal);
  return {
    parent: newest?.id,
    newest:
      manifest === undefined
        ? undefined
        : { id: manifest.id, at: Date.parse(manifest.createdAt), files: manifest.files.length },
    claimEtag: claim?.etag,
    claim,
    hashKey,
    blobs: () => blobs.values(),
    blob(name) {
      const known = blobs.get(name) ?? unknownBlob(name);
      blobs.set(name, known);
      return known;
    },
    get size() {
      return blobs.size;
    },
  };
}

async function readUsable(
  store: BlobStore,
  place: SetPlace,
  id: string,
  signal: AbortSignal,
  onUnusable: (error: EvictdError) => void,
): Promise<Manifest | undefined> {
  try {
    return await readManifest(store, place, id, signal);
  } catch (error) {
    if (!(error instanceof EvictdError) || error.code !== 'bad-manifest') throw error;
    onUnusable(error);
    return undefined;
  }
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
  if (blob.etag === undefined || blob.content !== undefined || !blob.isNamed) return;
  if (list !== undefined && list.committed.length > 0) {
    if (list.etag === blob.etag) {
      blob.content = list.committed.map(({ id }) => id);
      blob.zstd = store.zstd === true ? list.committed.map(({ bytes }) => bytes) : undefined;
    }
    // How long the frame of a whole blob is isn't known; it is sent again.
  } else if (store.zstd !== true && wanted !== undefined) {
    const head = await store.head(prefix + blob.name, signal);
    if (head?.etag === blob.etag && head.metadata['evictd_content'] === contentIdOf(wanted))
      blob.content = wanted;
  }
}

/** A write of ours took effect: `blocks` are the content now. */
export function noteWritten(blob: StoredBlob, written: Written, blocks: readonly string[]): void {
  blob.etag = written.etag;
  blob.isNamed = true;
  blob.content = blocks;
  blob.zstd = written.zstd;
  blob.snapshot = written.snapshot;
}

/** Before the blocks are staged again: the service doesn't have what we thought it had. */
export function forgetBlocks(blob: StoredBlob): void {
  blob.blocks.clear();
  blob.listed = false;
}

/** After a checkpoint: retention may remove the blobs that it doesn't name, as soon as no older one names them. */
export async function nameOnly(stored: StoredSet, named: ReadonlySet<string>): Promise<void> {
  await forEachInSlices(stored.blobs(), (blob) => {
    if (named.has(blob.name)) return;
    blob.isNamed = false;
    blob.content = undefined;
    blob.snapshot = undefined;
  });
}

/** The blob is gone, and what was staged for it too. */
export function forgetBlob(blob: StoredBlob): void {
  Object.assign(blob, unknownBlob(blob.name));
}

function snapshotKey(name: string, snapshot: string): string {
  return `${snapshot} ${name}`;
}

function unknownBlob(name: string): StoredBlob {
  return {
    name,
    etag: undefined,
    content: undefined,
    zstd: undefined,
    snapshot: undefined,
    blocks: new Set(),
    listed: false,
    blockSize: undefined,
    isNamed: true,
  };
}

interface Known {
  readonly blobs: ReadonlyMap<string, StoredBlob>;
  /** Undefined: not asked for. */
  readonly snapshots: ReadonlySet<string> | undefined;
  /** Blocks are stored compressed from now on. */
  readonly zstd: boolean;
}

/** A blob that is still the version of the manifest holds what the manifest says. */
function recall(file: ManifestFile, { blobs, snapshots, zstd }: Known): void {
  const blob = blobs.get(file.blob);
  if (blob === undefined) return;
  blob.blockSize = file.blockSize;
  blob.isNamed = true;
  if (blob.etag !== file.etag) return;
  blob.content = file.blocks;
  blob.zstd = file.zstd;
  const exists = snapshots?.has(snapshotKey(file.blob, file.snapshot)) ?? true;
  blob.snapshot = exists ? file.snapshot : undefined;
  // A single block may have been written as a whole blob, and then it is no block that a commit could name;
  // nor are those that are stored in another way than new ones would be.
  if (file.blocks.length > 1 && (file.zstd !== undefined) === zstd) {
    for (const id of file.blocks) blob.blocks.add(id);
  }
}
