import { EvictdError } from '../base/errors.ts';
import { conditionFor, contentMetadata, isConflict, writeOwn, writerMetadata } from './own-write.ts';
import type { CommitContext } from './own-write.ts';
import type { Written } from './store.ts';
import { noteWritten } from './stored-blobs.ts';
import type { StoredBlob } from './stored-blobs.ts';

/** The content of a file of one block, to become its blob's. */
export interface WholeWrite {
  readonly blob: StoredBlob;
  /** Of that block. */
  readonly id: string;
  readonly body: Uint8Array;
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
  wroteWhole(blob, written, blocks);
}

/**
 * The same for several files at once. Answers which of them are written; the others need more than that, as after a
 * conflict with an earlier write of ours. The caller holds what the contents take.
 */
export async function putTogether(
  context: CommitContext,
  writes: readonly WholeWrite[],
  { withSnapshot }: { readonly withSnapshot: boolean },
  signal: AbortSignal,
): Promise<readonly boolean[]> {
  const { store, prefix } = context;
  const common = {
    metadata: writerMetadata(context),
    contentType: 'application/octet-stream',
    snapshot: withSnapshot,
  };
  const small = writes.map(({ blob, id, body }) => ({
    name: prefix + blob.name,
    body,
    condition: conditionFor(blob.etag),
    metadata: contentMetadata([id]),
  }));
  const answers = (await store.putTogether?.(small, common, signal)) ?? [];
  const areWritten = writes.map(({ blob, id }, index) => {
    const answer = answers[index];
    if (answer === undefined || answer instanceof EvictdError) return false;
    wroteWhole(blob, answer, [id]);
    return true;
  });
  for (const answer of answers) {
    if (answer instanceof EvictdError && answer.code !== 'conflict') throw answer;
  }
  return areWritten;
}

function wroteWhole(blob: StoredBlob, written: Written, blocks: readonly string[]): void {
  // A whole write leaves no blocks that a later commit could name.
  blob.blocks.clear();
  blob.listed = true;
  noteWritten(blob, written, blocks);
}
