import { crc32 } from 'node:zlib';

/** A piece of a tree or table, as it is stored but for compression. */
export interface Piece {
  /** Path (or name) of the first thing in it or below it. */
  readonly first: string;
  readonly bytes: Uint8Array;
}

/** Collects the rows of one piece. */
export interface PieceBuilder<T> {
  /** The JSON of a row. */
  row(item: T): string;
  /** `rows`: those of all items so far. */
  finish(rows: string): Uint8Array;
}

/**
 * Rows of a piece: on average 144. Fewer make more pieces, so that levels above get larger; more make each piece larger
 * that one changed file brings along. With ten changed files among 100,000 both cost the same about here.
 */
const CUT_BITS = 7;
/** So that a tree stays flat whatever files are called: eight levels then have room for far more than there can be. */
const ROWS_MIN = 16;
const ROWS_MAX = 1024;
const CHARACTERS_MAX = 128 * 1024;

/**
 * Cuts a sorted sequence after an item where a hash of its path says so: what comes or goes moves no cut but the nearest,
 * and what only changes moves none, so that all other pieces stay as they are and needn't be sent. Long rows are cut
 * where they are 128 KiB together, however the hash is.
 */
export function* cut<T>(
  items: Iterable<T>,
  pathOf: (item: T) => string,
  begin: () => PieceBuilder<T>,
): Iterable<Piece> {
  let piece: { readonly first: string; readonly builder: PieceBuilder<T> } | undefined;
  let rows: string[] = [];
  let characters = 0;
  for (const item of items) {
    const path = pathOf(item);
    piece ??= { first: path, builder: begin() };
    const row = piece.builder.row(item);
    rows.push(row);
    characters += row.length;
    const isFull = rows.length >= ROWS_MAX || characters >= CHARACTERS_MAX;
    if (!isFull && (rows.length < ROWS_MIN || !endsPiece(path))) continue;
    yield { first: piece.first, bytes: piece.builder.finish(rows.join(',\n')) };
    piece = undefined;
    rows = [];
    characters = 0;
  }
  if (piece !== undefined) yield { first: piece.first, bytes: piece.builder.finish(rows.join(',\n')) };
}

/** By a hash that is the same for all sets: what was cut once under one key is cut so under another. */
function endsPiece(path: string): boolean {
  // A crc alone is linear: of names that differ by a few digits it may hit none, or every one.
  return Math.imul(crc32(path), 0x9e_37_79_b1) >>> (32 - CUT_BITS) === 0;
}
