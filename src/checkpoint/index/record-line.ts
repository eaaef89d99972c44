import * as z from 'zod';

import type { FileChunk, PackName, StoredChunk } from '../format/chunk.ts';
import type { FileStat } from '../scan/file-stat.ts';
import type { FileRecord } from './record.ts';

/*
 * The lines of the local index. Written by this program on this machine in this boot; read with as little trust as
 * anything: one that doesn't fit makes the index unusable, which costs time and nothing else.
 */

const Integer = z.string().regex(/^-?\d{1,20}$/);
const Natural = z.int().min(0);
/** `[pack by its place in the line's list, offset, stored, plain, id]`, or `[plain]` of a hole. */
const Chunk = z.union([
  z.tuple([Natural, Natural, Natural, Natural, z.string().max(64)]),
  z.tuple([Natural]),
]);
const Time = z.number().nullable();
const Pack = z.string().max(64);
const Point = z.object({ id: z.string().max(16), sha256: z.string().max(64) });

export const Header = z.object({
  version: z.literal(1),
  epoch: z.string().regex(/^[0-9a-f]{16}$/),
  /** All that the index is bound to, as one text. */
  bound: z.string(),
  hash: z.object({ name: z.enum(['gmac-128', 'sha256-128']), key: z.string().max(64) }),
  cut: z.object({ chunkBytes: z.int().min(1), packBytes: z.int().min(1) }),
  /** The newest entry of the set that the places are good for. */
  base: Point.nullable(),
});
export type Header = z.infer<typeof Header>;

const FileLine = z.object({
  file: z.string().min(1),
  isVersion: z.boolean().optional(),
  stat: z.tuple([Natural, Integer, Integer, Integer, Integer]),
  at: z.tuple([Time, Time]),
  packs: z.array(Pack),
  chunks: z.array(Chunk),
});
const PartLine = z.object({
  part: z.string().min(1),
  size: Natural,
  dev: Integer,
  from: Natural,
  packs: z.array(Pack),
  chunks: z.array(Chunk),
});
const GoneLine = z.object({ gone: z.string() });
const PackLine = z.object({ pack: Pack, bytes: Natural });
const PieceLine = z.object({ piece: z.string(), packs: z.array(Pack).max(1), chunks: z.array(Chunk).max(1) });
const TryLine = z.object({ try: Point });
const BaseLine = z.object({ base: Point });
const MountsLine = z.object({ mounts: z.array(z.string()) });
export const Line = z.union([
  FileLine,
  PartLine,
  GoneLine,
  PackLine,
  PieceLine,
  TryLine,
  BaseLine,
  MountsLine,
]);
export type Line = z.infer<typeof Line>;

/** By hand: of a hundred thousand files it takes a third of the time that an object would. */
export function fileLine(path: string, { stat, seenAt, readAt, chunks, isVersion }: FileRecord): string {
  const { size, mtimeNs, ctimeNs, ino, dev } = stat;
  const times = `"stat":[${size},"${mtimeNs}","${ctimeNs}","${ino}","${dev}"],"at":[${time(seenAt)},${time(readAt)}]`;
  return `{"file":${JSON.stringify(path)},${times},${isVersion ? '' : '"isVersion":false,'}${packedText(chunks)}}`;
}

/** JSON has no infinity: null. */
function time(at: number): string {
  return Number.isFinite(at) ? String(at) : 'null';
}

function packedText(chunks: readonly FileChunk[]): string {
  const [first] = chunks;
  if (chunks.length === 1 && first !== undefined && 'pack' in first) {
    const { pack, offset, stored, plain, id } = first;
    return `"packs":["${pack}"],"chunks":[[0,${offset},${stored},${plain},"${id}"]]`;
  }
  return JSON.stringify(packed(chunks)).slice(1, -1);
}

export function recordOfLine({ stat, at, packs, chunks, isVersion }: z.infer<typeof FileLine>): FileRecord {
  const [size, mtimeNs, ctimeNs, ino, dev] = stat;
  return {
    stat: {
      size,
      mtimeNs: BigInt(mtimeNs),
      ctimeNs: BigInt(ctimeNs),
      ino: BigInt(ino),
      dev: BigInt(dev),
    },
    seenAt: at[0] ?? Infinity,
    readAt: at[1] ?? -Infinity,
    chunks: unpacked(packs, chunks),
    isVersion: isVersion ?? true,
  };
}

export function partLine(
  path: string,
  { size, dev }: Pick<FileStat, 'size' | 'dev'>,
  from: number,
  chunks: readonly FileChunk[],
): string {
  return JSON.stringify({ part: path, size, dev: String(dev), from, ...packed(chunks) });
}

export function partStatOf({ size, dev }: z.infer<typeof PartLine>): Pick<FileStat, 'size' | 'dev'> {
  return { size, dev: BigInt(dev) };
}

export function chunksOfLine({
  packs,
  chunks,
}: Pick<z.infer<typeof PartLine>, 'packs' | 'chunks'>): readonly FileChunk[] {
  return unpacked(packs, chunks);
}

export function pieceLine(name: string, ref: StoredChunk): string {
  return JSON.stringify({ piece: name, ...packed([ref]) });
}

export function pieceOfLine({ packs, chunks }: z.infer<typeof PieceLine>): StoredChunk | undefined {
  const [chunk] = unpacked(packs, chunks);
  return chunk !== undefined && 'pack' in chunk ? chunk : undefined;
}

function packed(chunks: readonly FileChunk[]) {
  const packs = new Map<PackName, number>();
  const rows = chunks.map((chunk) => {
    if (!('pack' in chunk)) return [chunk.plain];
    const pack = packs.get(chunk.pack) ?? packs.size;
    packs.set(chunk.pack, pack);
    return [pack, chunk.offset, chunk.stored, chunk.plain, chunk.id];
  });
  return { packs: [...packs.keys()], chunks: rows };
}

function unpacked(packs: readonly PackName[], rows: readonly z.infer<typeof Chunk>[]): readonly FileChunk[] {
  return rows.map((row) => {
    if (row.length === 1) return { plain: row[0] };
    const [index, offset, stored, plain, id] = row;
    const pack = packs[index];
    if (pack === undefined) throw new Error('a chunk names a pack that its line lacks');
    return { id, plain, pack, offset, stored };
  });
}
