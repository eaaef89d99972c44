import { EvictdError } from '../../../base/errors.ts';
import { forEachInSlices } from '../../../base/slices.ts';
import { type PackName, type StoredChunk, isStored } from '../../format/chunk.ts';
import type { Entry } from '../../format/entry.ts';
import type { Manifest, SetEntry, Takeover } from '../../format/manifest.ts';
import { parsePackName } from '../../format/names.ts';
import { walkPackUses, walkTree } from '../../format/tree/tree.ts';
import { sameChunks, withoutGone } from '../../index/chunk-range.ts';
import type { Former } from '../../index/local-index.ts';
import { createPieceReader } from '../../index/read-piece.ts';
import { type FileRecord, recordOfEntry } from '../../index/record.ts';
import type { BlobStore } from '../../store/store.ts';

export interface TreeSource {
  readonly store: BlobStore;
  /** `PREFIX/KEY/sets/SET/`. */
  readonly prefix: string;
}

/** The entries of a checkpoint, in the order of paths. Throws as walkTree does, and what its pieces are rejected with. */
export function entriesOf(manifest: Manifest, source: TreeSource, signal: AbortSignal): AsyncIterable<Entry> {
  return walkTree(manifest.tree, createPieceReader(source, signal)(manifest), signal);
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
  await unlessUnreadable(source.onNote, async () => {
    for await (const entry of entriesOf(manifest, source, signal)) {
      if (entry.type === 'file') files.set(entry.path, recordOfEntry(entry, entry.chunks));
    }
  });
  // Each of those that were read is checked by its own id.
  return files;
}

/**
 * Files that hold what a checkpoint has of them, as far as this boot knows, needn't be read again: their times stay known.
 * `known` has hashes under the key of the checkpoint.
 */
export async function keepSeen(
  files: Map<string, FileRecord>,
  known: ReadonlyMap<string, FileRecord>,
): Promise<void> {
  await forEachInSlices([...files], ([path, { chunks }]) => {
    const seen = known.get(path);
    if (seen?.isVersion === true && sameChunks(seen.chunks, chunks)) files.set(path, { ...seen, chunks });
  });
}

/**
 * What an earlier boot of this VM has staged since its newest checkpoint, where nobody has taken the set over meanwhile:
 * such packs stay while this epoch's takeover adopts them. It is only compared with. Changes `files`, which are those of
 * that checkpoint; answers what to adopt.
 */
export async function adoptStaged(
  files: Map<string, FileRecord>,
  { newest, checkpoint }: { readonly newest: SetEntry; readonly checkpoint: Manifest | undefined },
  { epoch, files: known, packs }: Former,
): Promise<Takeover['adopts']> {
  if (newest.epoch !== epoch) return null;
  const seqMin = checkpoint?.epoch === epoch ? checkpoint.seq : 0;
  const seqs = new Map([...packs.keys()].map((name) => [name, parsePackName(name)?.seq ?? 0]));
  const highest = Math.max(0, ...seqs.values());
  if (highest <= seqMin) return null;
  const named = new Set<PackName>();
  await forEachInSlices(files.values(), ({ chunks }) => {
    for (const chunk of chunks) if (isStored(chunk)) named.add(chunk.pack);
  });
  const isKept = ({ pack }: StoredChunk) => named.has(pack) || (seqs.get(pack) ?? 0) > seqMin;
  await forEachInSlices(known, ([path, { stat, chunks }]) => {
    const { size } = stat;
    files.set(path, recordOfEntry({ size, mtimeNs: 0n }, withoutGone(chunks, isKept), false));
  });
  return { epoch, seq: highest };
}

/** What can't be read for good is told, and done without. */
export async function unlessUnreadable(
  onNote: (error: EvictdError) => void,
  read: () => Promise<void>,
): Promise<void> {
  try {
    await read();
  } catch (error) {
    const isOfTheTree =
      error instanceof EvictdError &&
      ['bad-tree', 'checkpoint-gone', 'archived', 'bad-answer'].includes(error.code);
    if (!isOfTheTree) throw error;
    onNote(error);
  }
}

/**
 * Which packs stay while a checkpoint of `epoch` is the newest: those that it names, and what this epoch has begun since.
 * Of names that can't be read nothing is relied on: `onNote` hears of it. Rejects with what the store rejects with.
 */
export async function keptPacks(
  manifest: Manifest,
  epoch: string,
  source: TreeSource & { readonly onNote: (error: EvictdError) => void },
  signal: AbortSignal,
): Promise<(pack: PackName) => boolean> {
  const named = new Set(manifest.metadata.map(({ name }) => name));
  const readPiece = createPieceReader(source, signal)(manifest);
  await unlessUnreadable(source.onNote, async () => {
    for await (const { name } of walkPackUses(manifest.packs, readPiece, signal)) named.add(name);
  });
  return (name) => {
    const pack = parsePackName(name);
    return named.has(name) || (pack?.epoch === epoch && pack.seq > manifest.seq);
  };
}
