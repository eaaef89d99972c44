import type { StoredChunk } from '../chunk.ts';
import { PACKS } from '../names.ts';
import { pathProblem, quotePath } from '../../../base/files/path-name.ts';
import { comparePaths } from '../path-order.ts';
import { badPiece, parsePiece, PIECE_BYTES_MAX } from './piece.ts';
import type { Bad, ParsedPiece } from './piece.ts';
import { decodeNode } from './piece-kinds.ts';

/** Reads a piece, checked by its id. */
export type ReadPiece = (ref: StoredChunk) => Promise<Uint8Array>;

/** Whether to look below a piece whose paths begin with `first`, and end before `next` where there is one. */
export type Within = (first: string, next: string | undefined) => boolean;

export const DEPTH_MAX = 8;
/** Pieces that are asked for ahead; asked for together, so that one request can fetch neighbours. */
const AHEAD_MAX = 32;
const AHEAD_BYTES_MAX = 4 * 1024 ** 2;

interface Child {
  readonly ref: StoredChunk;
  /** As the node above says; undefined for the topmost piece. */
  readonly first?: string;
  /** All that is in it comes before this. */
  readonly next: string | undefined;
}

interface Leaves<T> {
  readonly kind: string;
  decode(piece: ParsedPiece, bad: Bad): readonly T[];
  readonly pathOf: (item: T) => string;
}

/**
 * What the leaves below `root` hold, leaf by leaf, each with what names it in errors. Throws `bad-tree` where a piece
 * isn't one, or isn't where it should be: paths rise from leaf to leaf. Inside of a leaf they are for the caller to check.
 */
export async function* walkLeaves<T>(
  root: StoredChunk,
  leaves: Leaves<T>,
  { readPiece, signal, within }: { readPiece: ReadPiece; signal: AbortSignal; within?: Within | undefined },
): AsyncGenerator<readonly [items: readonly T[], bad: Bad]> {
  async function* below(
    children: readonly Child[],
    depth: number,
  ): AsyncGenerator<readonly [readonly T[], Bad]> {
    const refs = children.map(({ ref }) => ref);
    let index = 0;
    for await (const [piece, bad] of readInOrder(refs, readPiece, signal)) {
      const child = children[index++];
      if (piece.kind === leaves.kind) {
        const items = leaves.decode(piece, bad);
        checkPlace(child, items.map(leaves.pathOf), bad);
        yield [items, bad];
      } else if (piece.kind === 'node') {
        if (depth === DEPTH_MAX) throw bad(`it is more than ${DEPTH_MAX} levels deep`);
        const refs = decodeNode(piece, bad);
        const paths = refs.map(({ first }) => first);
        checkPaths(paths, bad);
        checkPlace(child, paths, bad);
        const next = refs.map((ref, at): Child => ({ ...ref, next: paths[at + 1] ?? child?.next }));
        yield* below(
          within === undefined ? next : next.filter(({ first = '', next }) => within(first, next)),
          depth + 1,
        );
      } else throw bad('it is of another kind');
    }
  }
  yield* below([{ ref: root, next: undefined }], 1);
}

/** Reads pieces in order, some ahead. Nothing goes on once it has ended. */
export async function* readInOrder(
  refs: readonly StoredChunk[],
  readPiece: ReadPiece,
  signal: AbortSignal,
): AsyncGenerator<readonly [piece: ParsedPiece, bad: Bad]> {
  const pending: { readonly ref: StoredChunk; readonly bytes: Promise<Uint8Array> }[] = [];
  let begun = 0;
  let bytesAhead = 0;
  const readAhead = () => {
    for (let ref = refs[begun]; ref !== undefined && pending.length < AHEAD_MAX; ref = refs[begun]) {
      if (pending.length > 0 && bytesAhead + ref.plain > AHEAD_BYTES_MAX) return;
      if (ref.plain > PIECE_BYTES_MAX) throw badPiece(PACKS + ref.pack, ref)('it is larger than any piece');
      const bytes = readPiece(ref);
      // Whoever waits for it is told; until then it isn't unhandled.
      bytes.catch(() => undefined);
      pending.push({ ref, bytes });
      bytesAhead += ref.plain;
      begun++;
    }
  };
  try {
    for (;;) {
      signal.throwIfAborted();
      if (pending.length <= AHEAD_MAX / 2) readAhead();
      const next = pending[0];
      if (next === undefined) return;
      const bytes = await next.bytes;
      pending.shift();
      bytesAhead -= next.ref.plain;
      const bad = badPiece(PACKS + next.ref.pack, next.ref);
      if (bytes.length !== next.ref.plain) {
        throw bad(`it has ${bytes.length} bytes instead of ${next.ref.plain}`);
      }
      yield [parsePiece(bytes, bad), bad];
    }
  } finally {
    await Promise.allSettled(pending.map(({ bytes }) => bytes));
  }
}

function checkPaths(paths: readonly string[], bad: Bad): void {
  for (const [index, path] of paths.entries()) {
    const problem = pathProblem(path);
    if (problem !== undefined) throw bad(`row ${index}: its path ${problem}`);
    const before = paths[index - 1];
    if (before !== undefined && comparePaths(before, path) >= 0) {
      throw bad(`row ${index}: ${quotePath(path)} does not come after ${quotePath(before)}`);
    }
  }
}

function checkPlace(child: Child | undefined, paths: readonly string[], bad: Bad): void {
  const [first = ''] = paths;
  if (child?.first !== undefined && child.first !== first) {
    throw bad(`it begins with ${quotePath(first)} instead of ${quotePath(child.first)}`);
  }
  const last = paths.at(-1) ?? '';
  if (child?.next !== undefined && pathProblem(last) === undefined && comparePaths(last, child.next) >= 0) {
    throw bad(`it reaches to ${quotePath(last)}, beyond ${quotePath(child.next)}`);
  }
}
