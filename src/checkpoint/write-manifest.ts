import { conflict, isConflict, metadataOf } from './commit-file.ts';
import type { CommitContext } from './commit-file.ts';
import { manifestName } from './manifest.ts';
import { encodeManifest } from './manifest-format.ts';
import type { Manifest } from './schema.ts';
import type { Scan } from './scan.ts';
import type { StoredSet } from './stored-blobs.ts';

export type ManifestContent = Omit<Manifest, 'version' | 'id' | 'parent'>;

/**
 * The last step of a commit: from here on the checkpoint exists. Moves `base` on to it and answers its id.
 * Rejects `conflict`, `manifest-too-large`, or what else the store rejects with.
 */
export async function writeManifest(
  context: () => CommitContext,
  base: StoredSet,
  content: ManifestContent,
  signal: AbortSignal,
): Promise<string> {
  for (let attempt = 1; ; attempt++) {
    const current = context();
    const name = current.prefix + manifestName(current.id);
    const version = content.files.some(({ zstd }) => zstd !== undefined) ? 2 : 1;
    const manifest = { version, id: current.id, parent: base.parent ?? null, ...content } as const;
    const body = await encodeManifest(manifest, signal);
    try {
      await current.transfer.request(signal, () =>
        current.store.put(
          name,
          body,
          { condition: { ifNone: true }, metadata: metadataOf(current, []), contentType: 'application/json' },
          signal,
        ),
      );
      base.parent = current.id;
      base.newest = { id: current.id, at: Date.parse(content.createdAt) };
      return current.id;
    } catch (error) {
      if (!isConflict(error)) throw error;
      const head = await current.store.head(name, signal);
      if (head?.metadata['evictd_process'] !== current.writer.process || attempt > 1) {
        throw conflict(current.writer, name, head?.metadata, error);
      }
      // Ours: an earlier attempt whose answer got lost. It is a checkpoint; this one comes after it.
      base.parent = current.id;
    }
  }
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
