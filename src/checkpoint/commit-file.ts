import { EvictdError } from '../base/errors.ts';
import { contentIdOf, sameBlocks } from './block-id.ts';
import { isOwnVm, overtaken, printable } from './overtaken.ts';
import type { ManifestFile } from './schema.ts';
import type { ScannedFile } from './scan.ts';
import type { FileVersion } from './send-file.ts';
import type { BlobStore, WriteCondition, WriteOptions, Written } from './store.ts';
import type { StoredBlob } from './stored-blobs.ts';
import type { Transfer } from './transfer.ts';

/** Who writes; goes into each blob's metadata and into the manifest. */
export interface Writer {
  readonly vmName: string;
  readonly vmId: string;
  readonly bootId: string;
  /** One per process: tells a late echo of our own write from another writer. */
  readonly process: string;
}

export interface CommitContext {
  /** `PREFIX/KEY/SET/`. */
  readonly prefix: string;
  readonly store: BlobStore;
  readonly transfer: Transfer;
  readonly writer: Writer;
  /** Of the checkpoint that is being made. */
  readonly id: string;
}

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

/**
 * Writes a file of at most one block in one request, and snapshots it where that comes at once.
 * The caller holds the request's place, since it holds the content.
 */
export async function putWhole(
  context: CommitContext,
  blob: StoredBlob,
  { blocks, withSnapshot }: { readonly blocks: readonly string[]; readonly withSnapshot: boolean },
  body: Uint8Array,
  signal: AbortSignal,
): Promise<void> {
  const { store, prefix } = context;
  const name = prefix + blob.name;
  const written = await writeOwn(context, name, blob.etag, blocks, signal, async (own) => {
    const write = { ...own, snapshot: withSnapshot };
    try {
      return await store.put(name, body, write, signal);
    } catch (error) {
      // A name that has only staged blocks makes some services refuse a condition on a whole write, though nothing
      // is there that could be overwritten. As a block it goes through.
      const [id] = blocks;
      if (!isConflict(error) || id === undefined || !('ifNone' in write.condition)) throw error;
      if ((await store.head(name, signal)) !== undefined) throw error;
      await store.stageBlock(name, id, body, signal);
      return store.commitBlocks(name, blocks, write, signal);
    }
  });
  // A whole write leaves no blocks that a later commit could name.
  blob.blocks.clear();
  blob.listed = true;
  wrote(blob, written, blocks);
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
  wrote(blob, written, blocks);
}

function wrote(blob: StoredBlob, written: Written, blocks: readonly string[]): void {
  blob.etag = written.etag;
  blob.isNamed = true;
  blob.content = blocks;
  blob.zstd = written.zstd;
  blob.snapshot = written.snapshot;
}

/**
 * A conditional write of ours. When the condition doesn't hold because of a write of this very process (one whose
 * answer got lost), it is tried again on top of that one; otherwise the conflict says who the other writer is.
 */
export async function writeOwn(
  context: CommitContext,
  name: string,
  etag: string | undefined,
  blocks: readonly string[],
  signal: AbortSignal,
  write: (options: WriteOptions) => Promise<Written>,
): Promise<Written> {
  const options = (condition: WriteCondition): WriteOptions => ({
    condition,
    metadata: metadataOf(context, blocks),
    contentType: 'application/octet-stream',
  });
  try {
    return await write(options(conditionFor(etag)));
  } catch (error) {
    if (!isConflict(error)) throw error;
    const head = await context.store.head(name, signal);
    // What was removed meanwhile (by retention, or a rule of the account) has no content that could get lost.
    const isGone = head === undefined && etag !== undefined;
    if (isGone || head?.metadata['evictd_process'] === context.writer.process) {
      return await blaming(context, name, signal, () => write(options(conditionFor(head?.etag))));
    }
    throw conflict(context.writer, name, head?.metadata, error);
  }
}

function conditionFor(etag: string | undefined): WriteCondition {
  return etag === undefined ? { ifNone: true } : { ifEtag: etag };
}

export function isConflict(error: unknown): error is EvictdError {
  return error instanceof EvictdError && error.code === 'conflict';
}

/**
 * The one message for two writers of one key. `metadata` is the other one's, where it left some; another process of
 * this VM is no other writer, but `overtaken`.
 */
export function conflict(
  writer: Writer,
  name: string,
  metadata: Readonly<Record<string, string>> | undefined,
  cause: unknown,
): EvictdError {
  if (isOwnVm(writer, metadata)) return overtaken(name, cause);
  const vm = metadata?.['evictd_vm_name'];
  const other =
    metadata === undefined
      ? 'it was removed'
      : vm === undefined
        ? 'it was written by something else than evictd'
        : `it was written by VM ${vm} (${metadata['evictd_vm_id'] ?? 'id unknown'})`;
  return new EvictdError('conflict', `another writer works on the same checkpoints: ${name}: ${other}`, {
    remedy: 'give each VM its own checkpoint.key, or stop the other writer; then restart evictd here',
    cause,
  });
}

async function blaming<T>(
  context: CommitContext,
  name: string,
  signal: AbortSignal,
  run: () => Promise<T>,
): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (!isConflict(error)) throw error;
    throw conflict(context.writer, name, (await context.store.head(name, signal))?.metadata, error);
  }
}

/** Names are C# identifiers in lower case (the service doesn't keep case), values printable ASCII. */
export function metadataOf(context: CommitContext, blocks: readonly string[]): Record<string, string> {
  const { vmName, vmId, bootId, process } = context.writer;
  return {
    evictd_vm_name: printable(vmName),
    evictd_vm_id: printable(vmId),
    evictd_boot_id: printable(bootId),
    evictd_process: process,
    evictd_checkpoint: context.id,
    evictd_content: contentIdOf(blocks),
  };
}
