import { boundedSignal, abandonOn } from '../../../base/abort.ts';
import { AssertionFailed } from '../../../base/assert.ts';
import { EvictdError } from '../../../base/errors.ts';
import type { CheckpointReason } from '../../../core/ports.ts';
import type { PackName, StoredChunk } from '../../format/chunk.ts';
import type { Entry } from '../../format/entry.ts';
import { METADATA_PACKS_MAX, type Manifest, type PackUse } from '../../format/manifest.ts';
import { encodeSetEntry, namedPaths, sha256Of } from '../../format/manifest-json.ts';
import { entryName } from '../../format/names.ts';
import { listEntries, readEntry } from '../../index/entries.ts';
import type { EntryPoint } from '../../index/local-index.ts';
import { createOnce } from '../../store/create-once.ts';
import type { Scan } from '../../scan/scan.ts';
import { conflict } from '../commit-error.ts';
import { isSince } from './partial.ts';
import type { SetWork } from '../set-work.ts';
import type { Upload } from '../send/upload.ts';
import { type WrittenTree, writeTree } from './write-tree.ts';

export interface CheckpointContent {
  readonly entries: readonly Entry[];
  readonly root: Scan['root'];
  readonly reason: CheckpointReason;
  readonly isGuest: boolean;
  /** Asked once all of it is sent. */
  readonly bytesSent: () => number;
  readonly changing: readonly string[];
  readonly lost: readonly string[];
  readonly seq: () => number;
  readonly partial?: Manifest['partial'];
  /** The checkpoint exists, though somebody else may have written meanwhile: that is still found out. */
  readonly onStored?: (written: WrittenCheckpoint) => void;
}

export interface WrittenCheckpoint {
  readonly id: string;
  readonly totals: Manifest['totals'];
  /** Nothing had changed: it is the checkpoint before. */
  readonly isFormer: boolean;
}

/** The journal is waited for so long: without it a lost answer looks like somebody else's write. */
const JOURNAL_MS = 2000;
/** With so many packs of metadata a commit that nobody waits for writes all pieces anew, into few. */
const METADATA_MERGED_AT = 48;

/**
 * Writes tree and manifest, once all that was sent is stored: from then on the checkpoint exists. Moves index and
 * ownership on to it. Where it would equal the newest one, that is answered instead, after the same checks.
 * Rejects `conflict`, `pack-gone`, or what the store rejects with.
 */
export async function writeCheckpoint(
  work: SetWork,
  upload: Upload,
  content: CheckpointContent,
  signal: AbortSignal,
): Promise<WrittenCheckpoint> {
  const { ownership, index, packs } = work;
  // Both are on their way while the last packs are, and neither may go on beside the next work.
  const checked = ownership.check(signal);
  checked.catch(() => undefined);
  await using _end = { [Symbol.asyncDispose]: () => checked.catch(() => undefined) };
  const flushed = upload.flush(signal);
  flushed.catch(() => undefined);
  const tree = await writeTree(
    content.entries,
    {
      hash: index.hash,
      former: isMergeDue(work, content) ? new Map() : index.pieces,
      isThere: (piece) => packs.has(piece),
      // One that isn't there is found out below.
      bytesOf: (name) => packs.bytesOf(name) ?? upload.bytesOf(name) ?? 0,
      sealed: () => Promise.race([upload.sealed(), flushed]),
      putPieces: (pieces) => upload.putPieces(pieces, signal),
    },
    signal,
  );
  await flushed;
  await upload.flush(signal);
  await checked;
  const { checkpoint } = ownership;
  const totals = totalsOf(content);
  await checkPacks(work, tree);
  if (checkpoint !== undefined && isSame(checkpoint, content, tree) && hasMetadata(work, checkpoint)) {
    // Or the next one would send its pieces again.
    index.setPieces(tree.pieces);
    return { id: checkpoint.id, totals, isFormer: true };
  }
  const id = await writeManifest(work, { ...content, tree, totals }, signal);
  return { id, totals, isFormer: false };
}

/** Every pack that a manifest names was confirmed to this process or seen in a listing, whole. */
async function checkPacks(work: SetWork, { used, pieces }: WrittenTree): Promise<void> {
  const { packs, ownership, index } = work;
  const isThere = (chunk: StoredChunk) => packs.has(chunk) && ownership.isKept(chunk.pack);
  const isListed = (name: PackName) => packs.bytesOf(name) !== undefined && ownership.isKept(name);
  const gone =
    [...used.keys()].find((name) => !isListed(name)) ??
    [...pieces.values()].find((piece) => !isThere(piece))?.pack;
  if (gone === undefined) return;
  await index.forgetGone(isThere);
  throw new EvictdError('pack-gone', `the pack ${gone} is not in the store any more`, {
    remedy: 'nothing is lost: the next attempt sends anew what was in it',
  });
}

/** Pieces with the same ids as its own may be in other packs by now. */
function hasMetadata({ packs }: SetWork, { metadata }: Manifest): boolean {
  return metadata.every(({ name, bytes }) => packs.bytesOf(name) === bytes);
}

interface ManifestContent extends CheckpointContent {
  readonly tree: WrittenTree;
  readonly totals: Manifest['totals'];
}

async function writeManifest(work: SetWork, content: ManifestContent, signal: AbortSignal): Promise<string> {
  const { ownership, index, place, store, prefix } = work;
  for (;;) {
    const manifest = manifestOf(work, content);
    const { id } = manifest;
    const body = encodeSetEntry(manifest);
    const point = { id, sha256: sha256Of(body) };
    await journalled(work, point, signal);
    const { outcome } = await createOnce(
      store,
      prefix + entryName(id),
      body,
      { contentType: 'application/json' },
      signal,
    );
    if (outcome === 'other') {
      const { entry, sha256 } = await readEntry(store, place, id, signal);
      // An earlier try of ours that arrived after all: it is a checkpoint, and this one comes after it.
      if (entry.kind !== 'checkpoint' || !index.tries(id).has(sha256)) throw conflict(place.set, entry);
      // What that one doesn't need may be pruned before ours needs it.
      await ownership.arrived({ id, sha256 }, entry, signal);
      await checkPacks(work, content.tree);
      continue;
    }
    ownership.moved(point, manifest);
    content.onStored?.({ id, totals: content.totals, isFormer: false });
    const checked = afterwards(work, point, signal);
    checked.catch(() => undefined);
    const files = new Set(content.entries.flatMap((entry) => (entry.type === 'file' ? [entry.path] : [])));
    const { pieces, used } = content.tree;
    const kept = { file: (path: string) => files.has(path), pack: (name: PackName) => used.has(name) };
    // Of a partial one the rest is still to come.
    const keptOfPartial = {
      file: () => true,
      pack: (name: PackName) => kept.pack(name) || isSince(name, manifest.epoch, manifest.seq),
    };
    try {
      await index.rebase(point, pieces, manifest.partial === undefined ? kept : keptOfPartial);
    } finally {
      await checked;
    }
    return id;
  }
}

/**
 * Whoever wrote meanwhile has an entry above ours. Then ours goes again, since nobody may take it for the newest; but not
 * when the other one has found it and goes on from it: that one relies on its packs.
 */
async function afterwards(work: SetWork, point: EntryPoint, signal: AbortSignal): Promise<void> {
  const { ownership, store, prefix } = work;
  try {
    await ownership.check(signal);
  } catch (error) {
    const isConflict = error instanceof EvictdError && error.code === 'conflict';
    if (isConflict && !(await isGoneOnFrom(work, point, signal))) {
      await store.remove(prefix + entryName(point.id), signal).catch(() => undefined);
    }
    throw error;
  }
}

/** As long as nobody knows it may be so. */
async function isGoneOnFrom({ store, place }: SetWork, point: EntryPoint, signal: AbortSignal) {
  try {
    const { entries } = await listEntries(store, place, signal);
    const next = entries.find(({ id }) => id > point.id);
    if (next === undefined) return true;
    const { entry } = await readEntry(store, place, next.id, signal);
    return entry.parent?.sha256 === point.sha256;
  } catch {
    return true;
  }
}

async function journalled({ index, clock, onNote }: SetWork, point: EntryPoint, signal: AbortSignal) {
  using bound = boundedSignal(clock, JOURNAL_MS, signal);
  try {
    await abandonOn(bound.signal, index.noteTry(point));
  } catch (error) {
    if (signal.aborted) throw error;
    // A disk that is full or hangs must not cost the checkpoint.
    onNote(error instanceof EvictdError && error.code === 'index-unwritten' ? error : journalLate());
  }
}

function journalLate(): EvictdError {
  return new EvictdError('index-unwritten', `the local index could not be written within ${JOURNAL_MS} ms`, {
    remedy: 'see what keeps the disk of state.dir busy',
  });
}

function manifestOf(work: SetWork, content: ManifestContent): Manifest {
  const { ownership, index, place, writer, process, clock, packs } = work;
  const { tree, totals, reason, isGuest, changing, lost, root, partial } = content;
  return {
    kind: 'checkpoint',
    id: ownership.nextId(),
    key: place.key,
    set: place.set,
    parent: ownership.newest,
    epoch: index.epoch,
    process,
    writer,
    createdAt: new Date(clock.wallMs()).toISOString(),
    hash: index.hash,
    cut: index.cut,
    reason,
    ...(isGuest && { guest: true }),
    seq: content.seq(),
    totals,
    changing: namedPaths(changing),
    lost: namedPaths(lost),
    ...(partial !== undefined && { partial }),
    root,
    tree: tree.root,
    packs: tree.packs,
    metadata: metadataOf(tree, (name) => packs.bytesOf(name) ?? missing(name)),
    listAgeMs: Math.round(packs.ageMs),
  };
}

function missing(name: PackName): number {
  throw new AssertionFailed(`the pack ${name} was checked and is unknown`);
}

function metadataOf({ pieces }: WrittenTree, bytesOf: (name: PackName) => number): readonly PackUse[] {
  const used = new Map<PackName, number>();
  for (const { pack, stored } of pieces.values()) used.set(pack, (used.get(pack) ?? 0) + stored);
  return [...used]
    .map(([name, bytes]) => ({ name, bytes: bytesOf(name), used: bytes }))
    .sort((one, other) => (one.name < other.name ? -1 : 1));
}

/** An urgent commit doesn't tidy up, unless it has to. */
function isMergeDue({ index }: SetWork, { reason }: CheckpointContent): boolean {
  const count = new Set([...index.pieces.values()].map(({ pack }) => pack)).size;
  const isUrgent = reason === 'notice' || reason === 'shutdown';
  return count > (isUrgent ? METADATA_PACKS_MAX - 16 : METADATA_MERGED_AT);
}

function totalsOf({ entries, bytesSent }: CheckpointContent): Manifest['totals'] {
  const totals = { files: 0, directories: 0, links: 0, bytes: 0, bytesSent: bytesSent() };
  for (const entry of entries) {
    if (entry.type === 'file') {
      totals.files++;
      totals.bytes += entry.size;
    } else if (entry.type === 'directory') totals.directories++;
    else totals.links++;
  }
  return totals;
}

/** Whether a restore of either brings the same, and says the same of it. A guest's may go before those of all others. */
function isSame(before: Manifest, content: CheckpointContent, tree: WrittenTree): boolean {
  const { mode, uid, gid } = content.root;
  const lost = namedPaths(content.lost);
  return (
    samePiece(before.tree, tree.root) &&
    (before.guest === undefined || content.isGuest) &&
    samePiece(before.packs, tree.packs) &&
    before.partial === undefined &&
    content.partial === undefined &&
    before.root.mode === mode &&
    before.root.uid === uid &&
    before.root.gid === gid &&
    before.lost.count === lost.count &&
    before.lost.paths.every((path, index) => path === lost.paths[index]) &&
    before.changing.count > 0 === content.changing.length > 0
  );
}

function samePiece(one: StoredChunk | null, other: StoredChunk | null): boolean {
  return one?.id === other?.id;
}
