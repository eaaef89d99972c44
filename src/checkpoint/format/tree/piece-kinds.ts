import type { FileChunk } from '../chunk.ts';
import type { PieceBuilder } from './cut.ts';
import type { PackUse } from '../manifest.ts';
import { parsePackName } from '../names.ts';
import { createChunkReader, createChunkWriter, isCount, PACK_BYTES_MAX, pieceBytes, rowOf } from './piece.ts';
import type { Bad, ParsedPiece } from './piece.ts';
import { LIST_CHUNKS } from './tree-entry.ts';
import type { ChildRef } from './tree-entry.ts';

/* The other pieces than leaves of a tree; see leaf.ts for those. */

/** Nodes, of trees and tables: `["first path below it",chunk]`, the chunk being the piece below. */
export function nodeBuilder(): PieceBuilder<ChildRef> {
  const chunks = createChunkWriter();
  return {
    row: ({ first, ref }) => `[${JSON.stringify(first)},${chunks.write(ref)}]`,
    finish: (rows) => pieceBytes('node', { packs: chunks.packs() }, rows),
  };
}

export function decodeNode(piece: ParsedPiece, bad: Bad): readonly ChildRef[] {
  const chunks = createChunkReader(piece, bad);
  return piece.rows.map((value, index) => {
    const [first, ref] = rowOf(value);
    if (typeof first !== 'string') throw bad(`row ${index}: it has no path`);
    return { first, ref: chunks.readStored(ref) };
  });
}

/** Lists of the chunks of a long file: all but the last have LIST_CHUNKS. */
export function* chunkListPieces(chunks: readonly FileChunk[]): Iterable<Uint8Array> {
  for (let from = 0; from < chunks.length; from += LIST_CHUNKS) {
    const writer = createChunkWriter();
    const rows = chunks.slice(from, from + LIST_CHUNKS).map((chunk) => writer.write(chunk));
    yield pieceBytes('chunks', { packs: writer.packs() }, rows.join(',\n'));
  }
}

/** `count`: how many it must have. */
export function decodeChunkList(piece: ParsedPiece, count: number, bad: Bad): readonly FileChunk[] {
  if (piece.kind !== 'chunks') throw bad('it is no list of chunks');
  if (piece.rows.length !== count) throw bad(`it has ${piece.rows.length} chunks instead of ${count}`);
  const chunks = createChunkReader(piece, bad);
  return piece.rows.map((chunk) => chunks.read(chunk));
}

/** The table of data packs: `["name",bytes,used]`, in the order of names. */
export function packUseBuilder(): PieceBuilder<PackUse> {
  return {
    row: ({ name, bytes, used }) => `["${name}",${bytes},${used}]`,
    finish: (rows) => pieceBytes('packs', {}, rows),
  };
}

export function decodePackUses(piece: ParsedPiece, bad: Bad): readonly PackUse[] {
  return piece.rows.map((value, index) => {
    const [name, bytes, used] = rowOf(value);
    const isName = typeof name === 'string' && parsePackName(name) !== undefined;
    if (!isName || !isCount(bytes, PACK_BYTES_MAX) || !isCount(used, Number.MAX_SAFE_INTEGER)) {
      throw bad(`row ${index}: it is no pack`);
    }
    return { name, bytes, used };
  });
}
