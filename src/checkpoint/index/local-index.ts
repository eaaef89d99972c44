import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { EvictdError, isErrno, messageOf } from '../../base/errors.ts';
import { forEachInSlices } from '../../base/slices.ts';
import type { Cut, FileChunk, HashSpec, PackName, StoredChunk } from '../format/chunk.ts';
import { newHashKey } from '../format/chunk-id.ts';
import { newEpoch } from '../format/names.ts';
import type { FileStat } from '../scan/file-stat.ts';
import { type LogFile, createLogFile, readLines } from './log-file.ts';
import { replaceRange, withoutPacks } from './chunk-range.ts';
import { type FileRecord, recordOfEntry } from './record.ts';
import {
  Header,
  Line,
  chunksOfLine,
  fileLine,
  partLine,
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

/**
 * What this VM knows of a set: which chunks each file held when it was last read, and where the store has them. It
 * stands for one epoch: places are good as long as nobody else has written to the set.
 *
 * INVARIANTS
 * - A record's chunks are in packs that the base reaches, or that this epoch has stored since.
 * - What is set here is appended to the file, so that a process that is killed leaves all of it to the next one. Nobody
 *   waits for that but `noteTry`: a disk that fails or hangs costs the next process time, and no checkpoint.
 */
export interface LocalIndex {
  readonly epoch: string;
  readonly hash: HashSpec;
  readonly cut: Cut;
  /** The entry that the places are good for; null: the set has none. */
  readonly base: EntryPoint | null;
  readonly files: ReadonlyMap<string, FileRecord>;
  /** Pieces of the base's tree and tables, by a name of the writer's. */
  readonly pieces: ReadonlyMap<string, StoredChunk>;
  /** Packs that this epoch has stored since the base, with their bytes. */
  readonly packs: ReadonlyMap<PackName, number>;
  /** The sha256 of manifests of ours that may have arrived under that id. */
  tries(id: string): ReadonlySet<string>;
  set(path: string, record: FileRecord): void;
  /** A part of what the file holds now, from byte `from` on: to be compared with, whatever the rest is. */
  setPart(path: string, stat: PartStat, from: number, chunks: readonly FileChunk[]): void;
  notePack(name: PackName, bytes: number): void;
  /** Before a manifest is sent. Waits for the disk, `TRY_MS_MAX` at most by the caller's bound. */
  noteTry(point: EntryPoint): Promise<void>;
  /** The base's tree has been written anew, equal, with its pieces in other places. */
  setPieces(pieces: ReadonlyMap<string, StoredChunk>): void;
  /** The set's newest entry is `base` now, with these pieces. Only what it keeps may be relied on from now on. */
  rebase(base: EntryPoint, pieces: ReadonlyMap<string, StoredChunk>, kept: Kept): Promise<void>;
  /** Begins a new life on what somebody else, or an earlier life, has left in the store. */
  restart(
    base: EntryPoint | null,
    format: { readonly hash: HashSpec; readonly cut: Cut },
    files: Map<string, FileRecord>,
  ): void;
  /** Marks chunks as lost whose pack isn't there; answers of how many files. */
  forgetPacks(isThere: (name: PackName) => boolean): Promise<number>;
  /** Writes what isn't written yet. Rejects `index-unwritten`. */
  save(): Promise<void>;
  close(): Promise<void>;
}

/** What is known of a file that was not had at one moment; its device is what tells that a disk is missing. */
export type PartStat = Pick<FileStat, 'size' | 'dev'>;

/** What another entry as the newest leaves: all else may be pruned. */
export interface Kept {
  readonly file: (path: string) => boolean;
  readonly pack: (name: PackName) => boolean;
}

interface Content {
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

/** Of lines in the file, so many times what is left of them. */
const OUTGROWN = 3;

/**
 * Reads the index. One that can't be used, or is of another life, is reported by `onUnusable` (not where there is none)
 * and begun anew.
 */
export async function openLocalIndex(
  place: IndexPlace,
  onUnusable: (error: EvictdError) => void,
): Promise<LocalIndex> {
  const found = await readContent(place, onUnusable);
  const log = place.file === undefined ? undefined : createLogFile(place.file, found?.wholeBytes);
  return createIndex(place, found ?? freshContent(place), log, onUnusable);
}

function boundTo({ store, root, bootId }: IndexPlace): string {
  return JSON.stringify([store, root, bootId]);
}

function freshContent({ hash, cut }: Pick<IndexPlace, 'hash' | 'cut'>): Content {
  return emptyContent({ name: hash, key: newHashKey() }, cut, newEpoch(), null);
}

function emptyContent(hash: HashSpec, cut: Cut, epoch: string, base: EntryPoint | null): Content {
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

async function readContent(
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

function putPart(
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

function addTry({ tries }: Content, { id, sha256 }: EntryPoint): void {
  tries.set(id, (tries.get(id) ?? new Set()).add(sha256));
}

/** What was stored before is either reached by it or of no use any more. */
function beginBase(content: Content, base: EntryPoint): void {
  content.base = base;
  content.packs.clear();
  content.tries.clear();
}

function createIndex(
  place: IndexPlace,
  found: Content,
  log: LogFile | undefined,
  onFailure: (error: EvictdError) => void,
): LocalIndex {
  let content = found;
  let waiting: string[] = [];
  let writing: Promise<void> | undefined;
  let isTold = false;

  const isToBeReplaced = () => {
    const live = content.files.size + content.pieces.size + content.packs.size;
    return log !== undefined && (log.isBroken || content.lines > OUTGROWN * live + 1000);
  };
  const writeAll = async () => {
    if (log === undefined) return;
    const lines = waiting;
    waiting = [];
    if (isToBeReplaced()) {
      await mkdir(dirname(place.file ?? ''), { recursive: true, mode: 0o700 });
      const written = content;
      const all = await snapshotLines(place, written);
      await log.replace(all);
      written.lines = all.length;
    } else {
      await log.append(lines);
      content.lines += lines.length;
    }
    isTold = false;
  };
  const failed = (error: unknown) =>
    new EvictdError(
      'index-unwritten',
      `the local index ${place.file} can't be written: ${messageOf(error)}`,
      {
        remedy: 'make room in state.dir; until then a restart reads all files again',
        cause: error,
      },
    );
  const begin = (): Promise<void> => {
    writing ??= writeAll().finally(() => (writing = undefined));
    return writing;
  };
  const later = (...lines: readonly string[]) => {
    if (log === undefined) return;
    waiting.push(...lines);
    if (writing !== undefined) return;
    void begin().then(
      () => (waiting.length > 0 || isToBeReplaced() ? later() : undefined),
      (error: unknown) => {
        if (!isTold) onFailure(failed(error));
        isTold = true;
      },
    );
  };
  const save = async () => {
    try {
      // What came meanwhile goes with the next one.
      do await begin();
      while (writing !== undefined || waiting.length > 0 || isToBeReplaced());
    } catch (error) {
      throw failed(error);
    }
  };

  const notePack = (name: PackName, bytes: number) => {
    content.packs.set(name, bytes);
    later(JSON.stringify({ pack: name, bytes }));
  };
  const lose = async (isThere: (name: PackName) => boolean): Promise<number> => {
    let count = 0;
    await forEachInSlices([...content.files], ([path, record]) => {
      const chunks = withoutPacks(record.chunks, isThere);
      if (chunks === record.chunks) return;
      count++;
      content.files.set(path, { ...record, chunks });
      later(fileLine(path, { ...record, chunks }));
    });
    return count;
  };

  const setPieces = (pieces: ReadonlyMap<string, StoredChunk>) => {
    for (const name of content.pieces.keys())
      if (!pieces.has(name)) later(JSON.stringify({ piece: name, packs: [], chunks: [] }));
    for (const [name, ref] of pieces) if (content.pieces.get(name) !== ref) later(pieceLine(name, ref));
    content.pieces = new Map(pieces);
  };

  return {
    get epoch() {
      return content.epoch;
    },
    get hash() {
      return content.hash;
    },
    get cut() {
      return content.cut;
    },
    get base() {
      return content.base;
    },
    get files() {
      return content.files;
    },
    get pieces() {
      return content.pieces;
    },
    get packs() {
      return content.packs;
    },
    tries: (id) => content.tries.get(id) ?? new Set(),
    set(path, record) {
      content.files.set(path, record);
      later(fileLine(path, record));
    },
    setPart(path, stat, from, chunks) {
      putPart(content, path, stat, from, chunks);
      later(partLine(path, stat, from, chunks));
    },
    notePack,
    setPieces,
    async noteTry(point) {
      addTry(content, point);
      if (log === undefined) return;
      waiting.push(JSON.stringify({ try: point }));
      await save();
    },
    async rebase(base, pieces, kept) {
      // The base comes last: a process that is killed before it leaves what is good for the old one.
      setPieces(pieces);
      await forEachInSlices(content.files.keys(), (path) => {
        if (kept.file(path)) return;
        content.files.delete(path);
        later(JSON.stringify({ gone: path }));
      });
      await lose(kept.pack);
      const packs = [...content.packs].filter(([name]) => kept.pack(name));
      beginBase(content, base);
      later(JSON.stringify({ base }));
      for (const [name, bytes] of packs) notePack(name, bytes);
    },
    restart(base, { hash, cut }, files) {
      content = { ...emptyContent(hash, cut, newEpoch(), base), files, lines: Infinity };
      waiting = [];
      later();
    },
    async forgetPacks(isThere) {
      const count = await lose(isThere);
      for (const [name, { pack }] of content.pieces) if (!isThere(pack)) content.pieces.delete(name);
      return count;
    },
    save,
    async close() {
      await log?.close();
    },
  };
}

async function snapshotLines(place: IndexPlace, content: Content): Promise<readonly string[]> {
  const { epoch, hash, cut, base, files, pieces, packs, tries } = content;
  const header: Header = { version: 1, epoch, bound: boundTo(place), hash, cut, base };
  const lines = [JSON.stringify(header)];
  // A copy, since files go on being read meanwhile.
  await forEachInSlices([...files], ([path, record]) => void lines.push(fileLine(path, record)));
  for (const [name, ref] of pieces) lines.push(pieceLine(name, ref));
  for (const [pack, bytes] of packs) lines.push(JSON.stringify({ pack, bytes }));
  for (const [id, hashes] of tries)
    for (const sha256 of hashes) lines.push(JSON.stringify({ try: { id, sha256 } }));
  return lines;
}

/** Names of sets are checked by the config; this one is used as a file name. */
export function indexFileName(directory: string, set: string): string {
  return join(directory, `${encodeURIComponent(set)}.index.jsonl`);
}
