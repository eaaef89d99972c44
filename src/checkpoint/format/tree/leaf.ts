import type { PieceBuilder } from './cut.ts';
import type { Attributes, HardLinkEntry } from '../entry.ts';
import { splitPath } from '../../../base/files/path-name.ts';
import { createChunkReader, createChunkWriter, createStrings, isCount, pieceBytes, rowOf } from './piece.ts';
import type { Bad, ChunkReader, ParsedPiece } from './piece.ts';
import { CHUNKS_MAX, LIST_CHUNKS } from './tree-entry.ts';
import type { TreeEntry } from './tree-entry.ts';

/*
 * The lowest pieces of a tree: entries in the order of their paths. Folders, triples of mode, owner and group, and packs
 * stand once in lists, rows name them by number:
 *
 *     ["file",folder,"name",attributes,"mtimeNs",chunk…]           of at most 64 chunks
 *     ["long",folder,"name",attributes,"mtimeNs",size,count,chunk…]  the chunks are pieces with lists of `count` chunks
 *     ["directory",folder,"name",attributes,"mtimeNs"]
 *     ["symlink",folder,"name",attributes,"mtimeNs","target"]
 *     ["hardlink",folder,"name","path of the file"]
 */
const MTIME = /^-?\d{1,19}$/;

export function leafBuilder(): PieceBuilder<TreeEntry> {
  const chunks = createChunkWriter();
  const folders = createStrings((folder) => JSON.stringify(folder));
  const triples = createStrings((triple) => `[${triple}]`);

  const attributes = ({ mode, uid, gid, mtimeNs }: Attributes) =>
    `${triples.numberOf(`${mode},${uid},${gid}`)},"${mtimeNs}"`;
  const place = (path: string) => {
    const { folder, name } = splitPath(path);
    return `${folders.numberOf(folder)},${JSON.stringify(name)}`;
  };
  return {
    row(entry) {
      if (entry.type === 'hardlink') {
        return `["hardlink",${place(entry.path)},${JSON.stringify(entry.target)}]`;
      }
      const start = `${place(entry.path)},${attributes(entry)}`;
      if (entry.type === 'directory') return `["directory",${start}]`;
      if (entry.type === 'symlink') return `["symlink",${start},${JSON.stringify(entry.target)}]`;
      let row = 'lists' in entry ? `["long",${start},${entry.size},${entry.chunkCount}` : `["file",${start}`;
      for (const chunk of 'lists' in entry ? entry.lists : entry.chunks) row += `,${chunks.write(chunk)}`;
      return `${row}]`;
    },
    finish: (rows) =>
      pieceBytes(
        'leaf',
        { packs: chunks.packs(), attributes: triples.json(), folders: folders.json() },
        rows,
      ),
  };
}

/** What a leaf holds, in order. Shapes are right then; what entries may be is for entryProblem and createTreeCheck. */
export function decodeLeaf(piece: ParsedPiece, bad: Bad): readonly TreeEntry[] {
  const chunks = createChunkReader(piece, bad);
  const triples = piece.list('attributes');
  const folders = piece.list('folders');
  return piece.rows.map((value, index) => {
    const badRow: Bad = (why) => bad(`row ${index}: ${why}`);
    const row = rowOf(value);
    const folder = typeof row[1] === 'number' ? folders[row[1]] : undefined;
    const type = row[0];
    const name = row[2];
    if (typeof name !== 'string' || typeof folder !== 'string') throw badRow('it has no path');
    const path = folder === '' ? name : `${folder}/${name}`;
    if (type === 'hardlink') return decodeHardLink(path, row, badRow);
    const attributes = decodeAttributes(triples, row, badRow);
    const { mode, uid, gid, mtimeNs } = attributes;
    switch (type) {
      case 'file': {
        const content = row.slice(5).map((chunk) => chunks.read(chunk));
        // Too large a sum is no safe integer, which entryProblem refuses.
        const size = content.reduce((sum, { plain }) => sum + plain, 0);
        return { type, path, mode, uid, gid, mtimeNs, size, chunks: content };
      }
      case 'long':
        return { type: 'file', path, ...attributes, ...decodeLists(row, chunks, badRow) };
      case 'directory':
        return { type, path, ...attributes };
      case 'symlink':
        if (typeof row[5] !== 'string') throw badRow('it has no target');
        return { type, path, ...attributes, target: row[5] };
      default:
        throw badRow('it is of no known type');
    }
  });
}

function decodeHardLink(path: string, row: readonly unknown[], bad: Bad): HardLinkEntry {
  if (typeof row[3] !== 'string') throw bad('it has no target');
  return { type: 'hardlink', path, target: row[3] };
}

function decodeAttributes(triples: readonly unknown[], row: readonly unknown[], bad: Bad): Attributes {
  const triple = typeof row[3] === 'number' ? triples[row[3]] : undefined;
  const [mode, uid, gid] = rowOf(triple);
  const mtimeNs = row[4];
  if (typeof mode !== 'number' || typeof uid !== 'number' || typeof gid !== 'number') {
    throw bad('it has no mode and owner');
  }
  if (typeof mtimeNs !== 'string' || !MTIME.test(mtimeNs)) throw bad('it has no time');
  return { mode, uid, gid, mtimeNs: BigInt(mtimeNs) };
}

function decodeLists(row: readonly unknown[], reader: ChunkReader, bad: Bad) {
  const [size, chunkCount] = row.slice(5);
  const lists = row.slice(7);
  const fits =
    isCount(size, Number.MAX_SAFE_INTEGER) &&
    isCount(chunkCount, CHUNKS_MAX) &&
    lists.length === Math.ceil(chunkCount / LIST_CHUNKS);
  if (!fits) throw bad('its lists of chunks are not as many as it says');
  return { size, chunkCount, lists: lists.map((list) => reader.readStored(list)) };
}
