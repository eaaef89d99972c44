import { forEachLimit } from '../base/concurrency.ts';
import { blockIdOf } from './block-id.ts';
import { conflict, isConflict, metadataOf } from './own-write.ts';
import type { CommitContext } from './own-write.ts';
import { manifestName } from './manifest.ts';
import { encodeManifest } from './manifest-format.ts';
import { MANIFEST_VERSION } from './schema.ts';
import type { Manifest } from './schema.ts';
import type { Scan } from './scan.ts';
import type { WriteOptions } from './store.ts';
import type { StoredSet } from './stored-blobs.ts';

const PIECES_IN_FLIGHT = 6;

export type ManifestContent = Omit<Manifest, 'version' | 'id' | 'parent'>;

/**
 * The last step of a commit: from here on the checkpoint exists. Moves `base` on to it and answers its id.
 * Rejects `conflict`, `manifest-too-large`, or what else the store rejects with.
 */
export async function writeManifest(
  context: () => CommitContext,
  base: Pick<StoredSet, 'parent' | 'newest'>,
  content: ManifestContent,
  signal: AbortSignal,
): Promise<string> {
  for (let attempt = 1; ; attempt++) {
    const current = context();
    const name = current.prefix + manifestName(current.id);
    const manifest = {
      version: MANIFEST_VERSION,
      id: current.id,
      parent: base.parent ?? null,
      ...content,
    } as const;
    const pieces = await encodeManifest(manifest, signal);
    try {
      const inBlocks = attempt > 1 || pieces.length > 1;
      await writePieces(current, name, { pieces, hashKey: content.hashKey, inBlocks }, signal);
      base.parent = current.id;
      base.newest = { id: current.id, at: Date.parse(content.createdAt), files: content.files.length };
      return current.id;
    } catch (error) {
      if (!isConflict(error)) throw error;
      const head = await current.store.head(name, signal);
      const isOurs = head?.metadata['evictd_process'] === current.writer.process;
      if (attempt > 1 || (head !== undefined && !isOurs))
        throw conflict(current.writer, name, head?.metadata, error);
      // Ours: an earlier attempt whose answer got lost. It is a checkpoint; this one comes after it.
      if (isOurs) base.parent = current.id;
      // Otherwise the name has blocks of a write that was broken off: see putWhole.
    }
  }
}

interface Pieces {
  readonly pieces: readonly [Uint8Array, ...Uint8Array[]];
  readonly hashKey: string;
  readonly inBlocks: boolean;
}

/** A large one goes over several connections, and what arrived of it need not be sent again. */
async function writePieces(
  context: CommitContext,
  name: string,
  { pieces, hashKey, inBlocks }: Pieces,
  signal: AbortSignal,
): Promise<void> {
  const { store, transfer } = context;
  const write: WriteOptions = {
    condition: { ifNone: true },
    metadata: metadataOf(context, []),
    contentType: 'application/json',
  };
  if (!inBlocks) {
    await transfer.request(signal, () => store.put(name, pieces[0], write, signal));
    return;
  }
  const blocks = pieces.map((piece) => ({ piece, id: blockIdOf(piece, hashKey) }));
  await forEachLimit(blocks, PIECES_IN_FLIGHT, signal, ({ piece, id }, inner) =>
    transfer.request(inner, () => store.stageBlock(name, id, piece, inner)),
  );
  const ids = blocks.map(({ id }) => id);
  await transfer.request(signal, () => store.commitBlocks(name, ids, write, signal));
}

/** What a manifest says of a scan beside its files. */
export function foldersAndLinks(
  scan: Scan,
): Pick<Manifest, 'root' | 'directories' | 'symlinks' | 'hardLinks'> {
  return {
    root: scan.root,
    directories: scan.directories.map(({ path, mode, uid, gid, mtimeNs }) => ({
      path,
      mode,
      uid,
      gid,
      mtimeNs: String(mtimeNs),
    })),
    symlinks: scan.symlinks.map(({ path, target, uid, gid }) => ({ path, target, uid, gid })),
    hardLinks: scan.hardLinks.map(({ path, target }) => ({ path, target })),
  };
}
