import { EvictdError } from '../../base/errors.ts';
import type { Entry } from '../format/entry.ts';
import type { Manifest } from '../format/manifest.ts';
import { walkTree } from '../format/tree.ts';
import { readPiece } from '../index/read-piece.ts';
import { type FileRecord, recordOfEntry } from '../index/record.ts';
import type { BlobStore } from '../store/store.ts';

export interface TreeSource {
  readonly store: BlobStore;
  /** `PREFIX/KEY/sets/SET/`. */
  readonly prefix: string;
}

/** The entries of a checkpoint, in the order of paths. Throws as walkTree and readPiece do. */
export function entriesOf(
  { tree, hash }: Manifest,
  { store, prefix }: TreeSource,
  signal: AbortSignal,
): AsyncIterable<Entry> {
  return walkTree(tree, (ref) => readPiece({ store, prefix, hash }, ref, signal), signal);
}

/**
 * What each file held by a checkpoint, to be compared with. Where the tree can't be read nothing is known of its files,
 * which costs sending them again: `onNote` hears of it.
 */
export async function readTreeRecords(
  manifest: Manifest | undefined,
  source: TreeSource & { readonly onNote: (error: EvictdError) => void },
  signal: AbortSignal,
): Promise<Map<string, FileRecord>> {
  const files = new Map<string, FileRecord>();
  if (manifest === undefined) return files;
  try {
    for await (const entry of entriesOf(manifest, source, signal)) {
      if (entry.type === 'file') files.set(entry.path, recordOfEntry(entry, entry.chunks));
    }
    return files;
  } catch (error) {
    const isOfTheTree =
      error instanceof EvictdError &&
      ['bad-tree', 'checkpoint-gone', 'archived', 'bad-answer'].includes(error.code);
    if (!isOfTheTree) throw error;
    source.onNote(error);
    // Each of those that were read is checked by its own id.
    return files;
  }
}
