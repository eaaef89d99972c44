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
  /** Folders of the set that another disk was mounted on; the set's own is ''. Outlives a boot. */
  mounts: ReadonlySet<string>;
  /** In the file. */
  lines: number;
}

function boundTo({ store, root, bootId }: IndexPlace): string {
  return JSON.stringify([store, root, bootId]);
}

/** Only the boot is another one. */
function isOfOtherBoot(bound: string, { store, root }: IndexPlace): boolean {
  return bound.startsWith(`${JSON.stringify([store, root]).slice(0, -1)},`);
}

/** `mounts`: see Content. */
export function freshContent(
  { hash, cut }: Pick<IndexPlace, 'hash' | 'cut'>,
  mounts: Content['mounts'] = new Set(),
): Content {
  return emptyContent({
    hash: { name: hash, key: newHashKey() },
    cut,
    epoch: newEpoch(),
    base: null,
    mounts,
  });
}

type Head = Pick<Content, 'hash' | 'cut' | 'epoch' | 'base' | 'mounts'>;

export function emptyContent(head: Head): Content {
  return {
    ...head,
    files: new Map(),
    pieces: new Map(),
    packs: new Map(),
    tries: new Map(),
    lines: 0,
  };
}

export interface FoundContent {
  readonly content: Content;
  /** Of the file, that can be added to; undefined: it has to be replaced. */
  readonly wholeBytes: number | undefined;
  /** What an earlier boot left: nothing of it is trusted. */
  readonly former?: Content;
}

/** What is in the file; undefined where there is nothing that can be used, which `onUnusable` hears of. */
export async function readContent(
  place: IndexPlace,
  onUnusable: (error: EvictdError) => void,
): Promise<FoundContent | undefined> {
  const { file } = place;
  if (file === undefined) return undefined;
  let content: Content | undefined;
  let isOfThisBoot = true;
  let wholeBytes = 0;
  try {
    for await (const [line, end] of readLines(file)) {
      const json: unknown = JSON.parse(line);
      if (content === undefined) {
        const { bound, ...head } = Header.parse(json);
        isOfThisBoot = bound === boundTo(place);
        if (!isOfThisBoot && !isOfOtherBoot(bound, place)) return undefined;
        content = emptyContent({ ...head, mounts: new Set() });
      } else takeLine(content, Line.parse(json));
      content.lines++;
      wholeBytes = end;
    }
    if (content === undefined || isOfThisBoot) return content && { content, wholeBytes };
    return { content: freshContent(place, content.mounts), wholeBytes: undefined, former: content };
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
  else if ('mounts' in line) content.mounts = new Set(line.mounts);
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

export function mountsLine(mounts: ReadonlySet<string>): string {
  return JSON.stringify({ mounts: [...mounts] });
}

/** The lines of a file that holds just that, as it is now. */
export function snapshotLines(place: IndexPlace, content: Content): readonly LineText[] {
  const { epoch, hash, cut, base, files, pieces, packs, tries, mounts } = content;
  const header: Header = { version: 1, epoch, bound: boundTo(place), hash, cut, base };
  const lines: LineText[] = [JSON.stringify(header), mountsLine(mounts)];
  for (const [path, record] of files) lines.push(() => fileLine(path, record));
  for (const [name, ref] of pieces) lines.push(pieceLine(name, ref));
  for (const [pack, bytes] of packs) lines.push(JSON.stringify({ pack, bytes }));
  for (const [id, hashes] of tries)
    for (const sha256 of hashes) lines.push(JSON.stringify({ try: { id, sha256 } }));
  return lines;
}
