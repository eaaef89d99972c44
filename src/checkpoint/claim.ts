import { WRITER } from './blob-name.ts';
import { writeOwn } from './own-write.ts';
import type { CommitContext } from './own-write.ts';
import type { StoredSet } from './stored-blobs.ts';

/**
 * Before a commit touches any file blob, it writes `writer.json` on the condition that nobody did since we looked.
 * Two writers of one key would otherwise each win some blobs and lose others, and both could fail; like this exactly
 * one of them goes on, and the other has its conflict before it has changed anything.
 * Rejects `conflict`.
 */
export async function claimSet(
  context: CommitContext,
  stored: StoredSet,
  signal: AbortSignal,
): Promise<void> {
  const { writer, id, prefix, store, transfer } = context;
  const body = Buffer.from(`${JSON.stringify({ version: 1, checkpoint: id, writer })}\n`, 'utf8');
  const name = prefix + WRITER;
  const written = await transfer.request(signal, () =>
    writeOwn(context, name, stored.claimEtag, [], signal, (write) =>
      store.put(name, body, { ...write, contentType: 'application/json' }, signal),
    ),
  );
  stored.claimEtag = written.etag;
}
