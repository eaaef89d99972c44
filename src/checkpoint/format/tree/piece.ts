import { isUtf8 } from 'node:buffer';

import { EvictdError } from '../../../base/errors.ts';
import { tryParseJson } from '../../../base/json.ts';
import { isStored } from '../chunk.ts';
import type { FileChunk, PackName, StoredChunk } from '../chunk.ts';
import { parsePackName } from '../names.ts';

/*
 * Trees and tables are stored in pieces. A piece is one JSON object whose last member is a list with a row on each line:
 *
 *     {"kind":"leaf","packs":[…],…,"rows":[
 *     […],
 *     […]]}
 *
 * A chunk in a row is one of these; packs are numbers into the piece's `packs`:
 *
 *     ["<id>",plain,stored,pack,offset]
 *     ["<id>",plain,stored]   in the pack of the chunk before it in the piece, right behind that
 *     ["<id>",plain]          the same, and not compressed: stored as it is
 *     4096                    so many zeros, which are nowhere
 */

/** Readers refuse larger ones. Writers stay far below it; see cut.ts. */
export const PIECE_BYTES_MAX = 1024 ** 2;
/** Of a stored chunk, and of a pack with its table: what a reader must be ready to hold. */
export const CHUNK_BYTES_MAX = 16 * 1024 ** 2;
export const PACK_BYTES_MAX = 128 * 1024 ** 2;

export type PieceKind = 'leaf' | 'node' | 'chunks' | 'packs';
/** Makes the error that names the piece. */
export type Bad = (why: string) => EvictdError;

export const TAKE_OLDER = 'restore an older checkpoint with --at; evictd checkpoints lists them';
const MESSAGE_CHARACTERS_MAX = 1000;

/** `blob`: name of the pack that the piece is in. */
export function badPiece(blob: string, { offset }: Pick<StoredChunk, 'offset'>): Bad {
  // What it quotes may be as long as the piece.
  return (why) => {
    const text = `the piece at byte ${offset} of ${blob} can't be used: ${why.slice(0, MESSAGE_CHARACTERS_MAX)}`;
    return new EvictdError('bad-tree', text, { remedy: TAKE_OLDER });
  };
}

/** `members`: JSON texts. */
export function pieceBytes(kind: PieceKind, members: Readonly<Record<string, string>>, rows: string): Buffer {
  const more = Object.entries(members).map(([name, json]) => `,"${name}":${json}`);
  return Buffer.from(`{"kind":"${kind}"${more.join('')},"rows":[\n${rows}]}\n`, 'utf8');
}

export interface ParsedPiece {
  readonly kind: unknown;
  readonly rows: readonly unknown[];
  /** A member that is a list. */
  list(name: string): readonly unknown[];
}

export function parsePiece(bytes: Uint8Array, bad: Bad): ParsedPiece {
  if (bytes.length > PIECE_BYTES_MAX) throw bad(`it has more than ${PIECE_BYTES_MAX} bytes`);
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8');
  const json = isUtf8(bytes) ? tryParseJson(text) : undefined;
  if (typeof json !== 'object' || json === null) throw bad('it is no JSON object');
  const list = (name: string): readonly unknown[] => {
    const value: unknown = Object.hasOwn(json, name) ? Reflect.get(json, name) : undefined;
    if (!Array.isArray(value)) throw bad(`its ${name} are no list`);
    return value;
  };
  const rows = list('rows');
  if (rows.length === 0) throw bad('it has no rows');
  return { kind: Reflect.get(json, 'kind'), rows, list };
}

/** Strings that stand once in a list of the piece, and in its rows by number. */
export interface Strings {
  /** JSON of the list. */
  json(): string;
  numberOf(text: string): number;
}

/** `toJson`: of one of them. */
export function createStrings(toJson: (text: string) => string): Strings {
  const numbers = new Map<string, number>();
  let last = '';
  let lastNumber = -1;
  return {
    json: () => `[${[...numbers.keys()].map(toJson).join(',')}]`,
    numberOf(text) {
      if (lastNumber !== -1 && text === last) return lastNumber;
      let number = numbers.get(text);
      if (number === undefined) numbers.set(text, (number = numbers.size));
      last = text;
      return (lastNumber = number);
    },
  };
}

/** Writes the chunks of one piece, in order. */
export interface ChunkWriter {
  write(chunk: FileChunk): string;
  /** JSON of the packs that they are in. */
  packs(): string;
}

export function createChunkWriter(): ChunkWriter {
  const packs = createStrings((name) => `"${name}"`);
  let pack: PackName | undefined;
  let end = 0;
  return {
    write(chunk) {
      if (!isStored(chunk)) return String(chunk.plain);
      const { id, plain, stored, offset } = chunk;
      const isNext = chunk.pack === pack && offset === end;
      pack = chunk.pack;
      end = offset + stored;
      if (!isNext) return `["${id}",${plain},${stored},${packs.numberOf(pack)},${offset}]`;
      return stored === plain ? `["${id}",${plain}]` : `["${id}",${plain},${stored}]`;
    },
    packs: () => packs.json(),
  };
}

/** Reads the chunks of one piece, in order. */
export interface ChunkReader {
  read(value: unknown): FileChunk;
  /** The same of one that must not be a hole. */
  readStored(value: unknown): StoredChunk;
}

const ID = /^[0-9a-f]{32}$/;

export function createChunkReader(piece: ParsedPiece, bad: Bad): ChunkReader {
  const packs = piece.list('packs').map((name) => {
    if (typeof name !== 'string' || parsePackName(name) === undefined) throw bad('it names no pack');
    return name;
  });
  let pack: PackName | undefined;
  let end = 0;
  const readStored = (value: unknown): StoredChunk => {
    const row = rowOf(value);
    const id = row[0];
    const plain = row[1];
    const stored = row.length > 2 ? row[2] : plain;
    if (row.length > 3) {
      pack = typeof row[3] === 'number' ? packs[row[3]] : undefined;
      end = isCount(row[4], PACK_BYTES_MAX) ? row[4] : Number.POSITIVE_INFINITY;
    }
    const isWhole =
      typeof id === 'string' && ID.test(id) && isCount(plain, CHUNK_BYTES_MAX) && isCount(stored, plain);
    if (!isWhole || stored === 0 || pack === undefined || end + stored > PACK_BYTES_MAX) {
      throw bad('a chunk in it is none');
    }
    const offset = end;
    end += stored;
    return { id, plain, stored, pack, offset };
  };
  return {
    read(value) {
      if (typeof value !== 'number') return readStored(value);
      if (!isCount(value, Number.MAX_SAFE_INTEGER) || value === 0) throw bad('a hole in it is none');
      return { plain: value };
    },
    readStored,
  };
}

/** What is no list is an empty one, which no row is. */
export function rowOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** An integer from 0 to `max`. */
export function isCount(value: unknown, max: number): value is number {
  return Number.isSafeInteger(value) && typeof value === 'number' && value >= 0 && value <= max;
}
