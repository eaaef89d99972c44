import { isStored } from '../format/chunk.ts';
import type { Manifest } from '../format/manifest.ts';
import { type SetPlace, setPrefix } from '../format/names.ts';
import { comparePaths } from '../format/path-order.ts';
import type { ReadPiece, TreeEntry } from '../format/tree/tree.ts';
import { findCheckpoint } from '../index/find-checkpoint.ts';
import { createPieceReader } from '../index/read-piece.ts';
import type { BlobStore } from '../store/store.ts';
import { type TreeCursor, chunksOf, createTreeCursor } from '../format/tree/cursor.ts';

export type Change =
  | { readonly kind: 'added'; readonly path: string; readonly after: TreeEntry }
  | { readonly kind: 'removed'; readonly path: string; readonly before: TreeEntry }
  | {
      readonly kind: 'changed';
      readonly path: string;
      readonly before: TreeEntry;
      readonly after: TreeEntry;
      readonly what: readonly ('type' | 'content' | 'target' | 'mode' | 'owner' | 'time')[];
    };

/**
 * What became of the entries of one checkpoint in another one of the same set, in the order of paths. Parts of the trees
 * that are the same piece aren't read. Rejects as `findCheckpoint` and `readPiece` do.
 */
export async function* diffCheckpoints(
  place: SetPlace,
  ids: { readonly before: string; readonly after: string },
  { store }: { readonly store: BlobStore },
  signal: AbortSignal,
): AsyncGenerator<Change> {
  const manifests = [
    (await findCheckpoint(place, ids.before, store, signal)).manifest,
    (await findCheckpoint(place, ids.after, store, signal)).manifest,
  ] as const;
  const pieces = createPieceReader({ store, prefix: setPrefix(place) }, signal);
  const [before, after] = manifests.map((manifest) => createTreeCursor(manifest.tree, pieces(manifest)));
  if (before === undefined || after === undefined) return;
  const differ = createDiffer(manifests, pieces, signal);
  const isComparable = isSameHash(manifests);
  for (;;) {
    signal.throwIfAborted();
    const [one, other] = [before.next(), after.next()];
    if (one === undefined && other === undefined) return;
    if (one?.kind === 'piece' && other?.kind === 'piece' && isComparable && one.ref.id === other.ref.id) {
      before.drop();
      after.drop();
      continue;
    }
    const order = one === undefined ? 1 : other === undefined ? -1 : comparePaths(one.path, other.path);
    const opened = [...(order <= 0 ? [before] : []), ...(order >= 0 ? [after] : [])].filter(isAtPiece);
    // An entry and a piece that begins with it: only the piece.
    for (const cursor of opened) await cursor.open();
    if (opened.length > 0) continue;
    if (order <= 0) before.drop();
    if (order >= 0) after.drop();
    if (order < 0 && one?.kind === 'entry') yield { kind: 'removed', path: one.path, before: one.entry };
    if (order > 0 && other?.kind === 'entry') yield { kind: 'added', path: other.path, after: other.entry };
    if (order !== 0 || one?.kind !== 'entry' || other?.kind !== 'entry') continue;
    const what = await differ(one.entry, other.entry);
    if (what.length > 0)
      yield { kind: 'changed', path: one.path, before: one.entry, after: other.entry, what };
  }
}

function isAtPiece(cursor: TreeCursor): boolean {
  return cursor.next()?.kind === 'piece';
}

type Manifests = readonly [Manifest, Manifest];
type What = Extract<Change, { kind: 'changed' }>['what'][number];

/** Ids of chunks and pieces mean the same in both. */
function isSameHash([{ hash: one }, { hash: other }]: Manifests): boolean {
  return one.name === other.name && one.key === other.key;
}

function createDiffer(
  manifests: Manifests,
  pieces: ReturnType<typeof createPieceReader>,
  signal: AbortSignal,
) {
  const [one, other] = manifests;
  const isComparable = isSameHash(manifests);
  return async (before: TreeEntry, after: TreeEntry): Promise<readonly What[]> => {
    if (before.type === 'hardlink' || after.type === 'hardlink' || before.type !== after.type) {
      if (before.type !== after.type) return ['type'];
      return 'target' in before && 'target' in after && before.target !== after.target ? ['target'] : [];
    }
    const what: What[] = [];
    if (before.type === 'file' && after.type === 'file') {
      const isSame =
        before.size === after.size &&
        (isComparable
          ? await isSameContent([before, pieces(one)], [after, pieces(other)], signal)
          : before.mtimeNs === after.mtimeNs);
      if (!isSame) what.push('content');
    }
    if (before.type === 'symlink' && after.type === 'symlink' && before.target !== after.target)
      what.push('target');
    if (before.mode !== after.mode) what.push('mode');
    if (before.uid !== after.uid || before.gid !== after.gid) what.push('owner');
    // That of a folder changes with each name that comes or goes in it.
    if (before.type !== 'directory' && before.mtimeNs !== after.mtimeNs) what.push('time');
    return what;
  };
}

type Content = readonly [TreeEntry, ReadPiece];

async function isSameContent(before: Content, after: Content, signal: AbortSignal): Promise<boolean> {
  const [one, other] = [before[0], after[0]];
  if ('lists' in one && 'lists' in other) {
    const isSame = one.lists.every(({ id }, index) => id === other.lists[index]?.id);
    if (isSame && one.lists.length === other.lists.length) return true;
  }
  const chunks = chunksOf(...after, signal);
  for await (const chunk of chunksOf(...before, signal)) {
    const { value } = await chunks.next();
    if (value === undefined || value.plain !== chunk.plain) return false;
    if ((isStored(chunk) ? chunk.id : '') !== (isStored(value) ? value.id : '')) return false;
  }
  return (await chunks.next()).done === true;
}
