import { EvictdError, isErrno, messageOf } from '../../base/errors.ts';
import type { Cut, FileChunk, HashSpec, PackName, StoredChunk } from '../format/chunk.ts';
import { newHashKey } from '../format/chunk-id.ts';
import { newEpoch } from '../format/names.ts';
import type { FileStat } from '../scan/file-stat.ts';
import { replaceRange } from './chunk-range.ts';
import { type LineText, readLines } from './log-file.ts';
import { type FileRecord, recordOfEntry } from './record.ts';
import {
  Header,
  Line,
  chunksOfLine,
  fileLine,
  partStatOf,
  pieceLine,
  pieceOfLine,
  recordOfLine,
} from './record-line.ts';

/** An entry of the set, by its content. */
export interface EntryPoint {
  readonly id: string;
  /** Of the blob, in hex. */
  readonly sha256: string;
}

/** What one life of the index is bound to: another one of any of these begins a new life, with a new epoch. */
export interface IndexPlace {
  /** Undefined: nothing is kept between processes. */
  readonly file: string | undefined;
  /** Container and place in it: `URL PREFIX/KEY/sets/SET/`. */
  readonly store: string;
  /** The set's folder. */
  readonly root: string;
  /** A machine that lost its power keeps times of writes whose content never reached the disk. */
  readonly bootId: string;
  /** For a set that nobody has written yet. */
  readonly hash: HashSpec['name'];
  readonly cut: Cut;
}

/** What is known of a file that was not had at one moment; its device is what tells that a disk is missing. */
export type PartStat = Pick<FileStat, 'size' | 'dev'>;

/** All that a local index holds. */
export interface Content {
  readonly epoch: string;
  readonly hash: HashSpec;
  readonly cut: Cut;
  base: EntryPoint | null;
  readonly files: Map<string, FileRecord>;
  pieces: Map<string, StoredChunk>;
  readonly packs: Map<PackName, number>;
  readonly tries: Map<string, Set<string>>;
  /** In the file. */
  lines: number;
}

function boundTo({ store, root, bootId }: IndexPlace): string {
  return JSON.stringify([store, root, bootId]);
}

export function freshContent({ hash, cut }: Pick<IndexPlace, 'hash' | 'cut'>): Content {
  return emptyContent({ name: hash, key: newHashKey() }, cut, newEpoch(), null);
}

export function emptyContent(hash: HashSpec, cut: Cut, epoch: string, base: EntryPoint | null): Content {
  return {
    epoch,
    hash,
    cut,
    base,
    files: new Map(),
    pieces: new Map(),
    packs: new Map(),
    tries: new Map(),
    lines: 0,
  };
}

/** What is in the file; undefined where there is nothing that can be used, which `onUnusable` hears of. */
export async function readContent(
  place: IndexPlace,
  onUnusable: (error: EvictdError) => void,
): Promise<(Content & { readonly wholeBytes: number }) | undefined> {
  if (place.file === undefined) return undefined;
  let content: Content | undefined;
  let wholeBytes = 0;
  try {
    for await (const [line, end] of readLines(place.file)) {
      const json: unknown = JSON.parse(line);
      if (content === undefined) {
        const { bound, epoch, hash, cut, base } = Header.parse(json);
        if (bound !== boundTo(place)) return undefined;
        content = emptyContent(hash, cut, epoch, base);
      } else takeLine(content, Line.parse(json));
      content.lines++;
      wholeBytes = end;
    }
    return content && { ...content, wholeBytes };
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined;
    const text = `the local index ${place.file} can't be used (${brief(error)}): all files are read again`;
    onUnusable(new EvictdError('index-unusable', text, { cause: error }));
    return undefined;
  }
}

/** Of zod's errors the text is a whole document. */
function brief(error: unknown): string {
  return messageOf(error).split('\n')[0]?.slice(0, 100) ?? '';
}

function takeLine(content: Content, line: Line): void {
  if ('file' in line) content.files.set(line.file, recordOfLine(line));
  else if ('gone' in line) content.files.delete(line.gone);
  else if ('part' in line) putPart(content, line.part, partStatOf(line), line.from, chunksOfLine(line));
  else if ('pack' in line) content.packs.set(line.pack, line.bytes);
  else if ('try' in line) addTry(content, line.try);
  else if ('base' in line) beginBase(content, line.base);
  else {
    const ref = pieceOfLine(line);
    if (ref !== undefined) content.pieces.set(line.piece, ref);
    else content.pieces.delete(line.piece);
  }
}

export function putPart(
  { files }: Content,
  path: string,
  { size, dev }: PartStat,
  from: number,
  chunks: readonly FileChunk[],
): void {
  const former = files.get(path)?.chunks ?? [];
  const record = recordOfEntry({ size, mtimeNs: 0n }, replaceRange(former, from, chunks), false);
  files.set(path, { ...record, stat: { ...record.stat, dev } });
}

export function addTry({ tries }: Content, { id, sha256 }: EntryPoint): void {
  tries.set(id, (tries.get(id) ?? new Set()).add(sha256));
}

/** What was stored before is either reached by it or of no use any more. */
export function beginBase(content: Content, base: EntryPoint): void {
  content.base = base;
  content.packs.clear();
  content.tries.clear();
}

/** The lines of a file that holds just that, as it is now. */
export function snapshotLines(place: IndexPlace, content: Content): readonly LineText[] {
  const { epoch, hash, cut, base, files, pieces, packs, tries } = content;
  const header: Header = { version: 1, epoch, bound: boundTo(place), hash, cut, base };
  const lines: LineText[] = [JSON.stringify(header)];
  for (const [path, record] of files) lines.push(() => fileLine(path, record));
  for (const [name, ref] of pieces) lines.push(pieceLine(name, ref));
  for (const [pack, bytes] of packs) lines.push(JSON.stringify({ pack, bytes }));
  for (const [id, hashes] of tries)
    for (const sha256 of hashes) lines.push(JSON.stringify({ try: { id, sha256 } }));
  return lines;
}
