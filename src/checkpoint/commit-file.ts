import { EvictdError } from '../base/errors.ts';
import { sameBlocks } from './block-id.ts';
import { blaming, writeOwn } from './own-write.ts';
import type { CommitContext } from './own-write.ts';
import type { ManifestFile } from './schema.ts';
import type { ScannedFile } from './scan.ts';
import type { FileVersion } from './send-file.ts';
import { noteWritten } from './stored-blobs.ts';
import type { StoredBlob } from './stored-blobs.ts';
import { putWhole } from './whole-write.ts';

/**
 * Makes `version` the blob's content and snapshots it, unless the store has just that already.
 * Rejects `conflict`, `missing-block`, or what else the store rejects with.
 */
export async function commitFile(
  context: CommitContext,
  file: ScannedFile,
  version: FileVersion,
  blob: StoredBlob,
  signal: AbortSignal,
): Promise<ManifestFile> {
  const { store, prefix, transfer } = context;
  if (!sameBlocks(blob.content, version.blocks) || blob.etag === undefined) {
    await (version.blocks.length === 0
      ? putWhole(context, blob, { blocks: [], withSnapshot: true }, new Uint8Array(0), signal)
      : commitBlocks(context, blob, version.blocks, signal));
  }
  const { etag } = blob;
  if (etag === undefined)
    throw new EvictdError('bad-answer', `no ETag for ${prefix}${blob.name} after writing it`);
  blob.snapshot ??= await transfer.request(signal, () =>
    blaming(context, prefix + blob.name, signal, () => store.snapshot(prefix + blob.name, etag, signal)),
  );
  return entryOf(file, version, blob, { etag, snapshot: blob.snapshot });
}

/**
 * Snapshots what was just written, so that commitFile needn't. The caller holds the request's place. Rejects only at an
 * abort: what goes wrong commitFile tries again, and explains.
 */
export async function snapshotEarly(
  { store, prefix }: CommitContext,
  blob: StoredBlob,
  signal: AbortSignal,
): Promise<void> {
  const { etag } = blob;
  if (etag === undefined) return;
  try {
    blob.snapshot = await store.snapshot(prefix + blob.name, etag, signal);
  } catch (error) {
    if (signal.aborted) throw error;
  }
}

/** What the manifest says of a file whose version the store has, snapshot included; undefined: something is to be done. */
export function committedEntry(
  file: ScannedFile,
  version: FileVersion,
  blob: StoredBlob,
): ManifestFile | undefined {
  const { etag, snapshot } = blob;
  if (etag === undefined || snapshot === undefined || !sameBlocks(blob.content, version.blocks))
    return undefined;
  return entryOf(file, version, blob, { etag, snapshot });
}

function entryOf(
  file: ScannedFile,
  version: FileVersion,
  blob: StoredBlob,
  { etag, snapshot }: { readonly etag: string; readonly snapshot: string },
): ManifestFile {
  blob.blockSize = version.blockSize;
  return {
    path: file.path,
    blob: blob.name,
    snapshot,
    etag,
    size: version.stat.size,
    mode: file.mode,
    uid: file.uid,
    gid: file.gid,
    mtimeNs: String(version.stat.mtimeNs),
    blockSize: version.blockSize,
    blocks: [...version.blocks],
    ...(blob.zstd !== undefined && { zstd: [...blob.zstd] }),
  };
}

async function commitBlocks(
  context: CommitContext,
  blob: StoredBlob,
  blocks: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const { store, prefix, transfer } = context;
  const name = prefix + blob.name;
  const written = await transfer.request(signal, () =>
    writeOwn(context, name, blob.etag, blocks, signal, (write) =>
      store.commitBlocks(name, blocks, { ...write, snapshot: true }, signal),
    ),
  );
  // Blocks that the list doesn't name are discarded by the service.
  blob.blocks.clear();
  for (const id of blocks) blob.blocks.add(id);
  blob.listed = true;
  noteWritten(blob, written, blocks);
}
