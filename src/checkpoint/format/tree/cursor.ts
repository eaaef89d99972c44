import type { FileChunk, StoredChunk } from '../chunk.ts';
import { isStored } from '../chunk.ts';
import { decodeLeaf } from './leaf.ts';
import { PACKS } from '../names.ts';
import { badPiece, parsePiece } from './piece.ts';
import { decodeNode } from './piece-kinds.ts';
import { type ReadPiece, type TreeEntry, chunkLists } from './tree.ts';
import { DEPTH_MAX } from './walk.ts';

/** What comes next in a tree: an entry, or a piece that isn't looked into yet. */
export type Next =
  | { readonly kind: 'entry'; readonly path: string; readonly entry: TreeEntry }
  /** `path`: where what is in it begins; empty for the whole tree. */
  | { readonly kind: 'piece'; readonly path: string; readonly ref: StoredChunk; readonly depth: number };

/**
 * Goes through a tree piece by piece, so that pieces can be passed over: those that another tree has as well, and those
 * that can't be read. That entries come in order and are what entries may be is for the caller to check.
 */
export interface TreeCursor {
  next(): Next | undefined;
  /** Passes over what comes next. */
  drop(): void;
  /** Puts what the next piece holds in its place. Passes over it and rejects `bad-tree`, or as `readPiece` does. */
  open(): Promise<void>;
}

/** `ahead`: so many pieces are asked for before they are opened. */
export function createTreeCursor(root: StoredChunk | null, readPiece: ReadPiece, ahead = 0): TreeCursor {
  /** The next one is the last. */
  const items: Next[] = root === null ? [] : [{ kind: 'piece', path: '', ref: root, depth: 1 }];
  const asked = new Map<StoredChunk, Promise<Uint8Array>>();
  const ask = (ref: StoredChunk): Promise<Uint8Array> => {
    const known = asked.get(ref);
    if (known !== undefined) return known;
    const bytes = readPiece(ref);
    // Whoever opens it is told; until then it isn't unhandled.
    bytes.catch(() => undefined);
    asked.set(ref, bytes);
    return bytes;
  };
  return {
    next: () => items.at(-1),
    drop: () => void items.pop(),
    async open() {
      const next = items.pop();
      if (next?.kind !== 'piece') return;
      const { ref, depth } = next;
      const reading = ask(ref);
      if (ahead > 0) for (const item of items.slice(-ahead)) if (item.kind === 'piece') void ask(item.ref);
      const bad = badPiece(PACKS + ref.pack, ref);
      const piece = parsePiece(await reading.finally(() => asked.delete(ref)), bad);
      if (piece.kind === 'leaf') {
        const entries = decodeLeaf(piece, bad).toReversed();
        for (const entry of entries) items.push({ kind: 'entry', path: entry.path, entry });
      } else if (piece.kind === 'node' && depth < DEPTH_MAX) {
        const children = decodeNode(piece, bad).toReversed();
        for (const child of children)
          items.push({ kind: 'piece', path: child.first, ref: child.ref, depth: depth + 1 });
      } else throw bad('it is no piece of a tree, or too deep in it');
    },
  };
}

/** The chunks of a file, in order; zeros that follow one another as one hole. Rejects as `open` does. */
export async function* chunksOf(
  entry: TreeEntry,
  readPiece: ReadPiece,
  signal: AbortSignal,
): AsyncGenerator<FileChunk, void> {
  let zeros = 0;
  for await (const chunk of storedChunksOf(entry, readPiece, signal)) {
    if (!isStored(chunk)) zeros += chunk.plain;
    else {
      if (zeros > 0) yield { plain: zeros };
      zeros = 0;
      yield chunk;
    }
  }
  if (zeros > 0) yield { plain: zeros };
}

async function* storedChunksOf(entry: TreeEntry, readPiece: ReadPiece, signal: AbortSignal) {
  if (entry.type !== 'file') return;
  if ('chunks' in entry) yield* entry.chunks;
  else for await (const chunks of chunkLists(entry, readPiece, signal)) yield* chunks;
}
