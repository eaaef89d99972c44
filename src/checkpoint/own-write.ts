import { EvictdError } from '../base/errors.ts';
import { contentIdOf } from './block-id.ts';
import { isOwnVm, overtaken, printable } from './overtaken.ts';
import type { BlobStore, WriteCondition, WriteOptions, Written } from './store.ts';
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

export function conditionFor(etag: string | undefined): WriteCondition {
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

export async function blaming<T>(
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
  return { ...writerMetadata(context), ...contentMetadata(blocks) };
}

export function writerMetadata(context: CommitContext): Record<string, string> {
  const { vmName, vmId, bootId, process } = context.writer;
  return {
    evictd_vm_name: printable(vmName),
    evictd_vm_id: printable(vmId),
    evictd_boot_id: printable(bootId),
    evictd_process: process,
    evictd_checkpoint: context.id,
  };
}

export function contentMetadata(blocks: readonly string[]): Record<string, string> {
  return { evictd_content: contentIdOf(blocks) };
}
