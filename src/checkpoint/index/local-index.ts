import { join } from 'node:path';

import type { EvictdError } from '../../base/errors.ts';
import { forEachInSlices } from '../../base/slices.ts';
import type { Cut, FileChunk, HashSpec, PackName, StoredChunk } from '../format/chunk.ts';
import { newEpoch } from '../format/names.ts';
import { withoutGone } from './chunk-range.ts';
import {
  type Content,
  type EntryPoint,
  type IndexPlace,
  type PartStat,
  addTry,
  beginBase,
  emptyContent,
  freshContent,
  mountsLine,
  putPart,
  readContent,
} from './content.ts';
import { type IndexLog, createIndexLog } from './index-log.ts';
import type { FileRecord } from './record.ts';
import { fileLine, partLine, pieceLine } from './record-line.ts';

export type { EntryPoint, IndexPlace, PartStat } from './content.ts';

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
  /** Folders of the set that another disk was mounted on, in an earlier boot too; the set's own is ''. */
  readonly mounts: ReadonlySet<string>;
  /** The sha256 of manifests of ours that may have arrived under that id. */
  tries(id: string): ReadonlySet<string>;
  set(path: string, record: FileRecord): void;
  /** A part of what the file holds now, from byte `from` on: to be compared with, whatever the rest is. */
  setPart(path: string, stat: PartStat, from: number, chunks: readonly FileChunk[]): void;
  notePack(name: PackName, bytes: number): void;
  noteMounts(mounts: ReadonlySet<string>): void;
  /** Before a manifest is sent. Waits for the disk, `TRY_MS_MAX` at most by the caller's bound. */
  noteTry(point: EntryPoint): Promise<void>;
  /** The base's tree has been written anew, equal, with its pieces in other places. */
  setPieces(pieces: ReadonlyMap<string, StoredChunk>): void;
  /** The set's newest entry is `base` now, with these pieces. Only what it keeps may be relied on from now on. */
  rebase(base: EntryPoint, pieces: ReadonlyMap<string, StoredChunk>, kept: Kept): Promise<void>;
  /** What an earlier boot of this VM left, to be compared with; until `restart`. */
  former(): Former | undefined;
  /** Begins a new life on what somebody else, or an earlier life, has left in the store. */
  restart(
    base: EntryPoint | null,
    format: { readonly hash: HashSpec; readonly cut: Cut },
    files: Map<string, FileRecord>,
  ): void;
  /** Marks chunks as lost that aren't there; answers of how many files. */
  forgetGone(isThere: (chunk: StoredChunk) => boolean): Promise<number>;
  /** Writes what isn't written yet. Rejects `index-unwritten`. */
  save(): Promise<void>;
  close(): Promise<void>;
}

export type Former = Pick<Content, 'epoch' | 'hash' | 'files' | 'packs'>;

/** What another entry as the newest leaves: all else may be pruned. */
export interface Kept {
  readonly file: (path: string) => boolean;
  readonly pack: (name: PackName) => boolean;
}

/**
 * Reads the index. One that can't be used, or is of another life, is reported by `onUnusable` (not where there is none)
 * and begun anew.
 */
export async function openLocalIndex(
  place: IndexPlace,
  onUnusable: (error: EvictdError) => void,
): Promise<LocalIndex> {
  const found = await readContent(place, onUnusable);
  let content: Content = found?.content ?? freshContent(place);
  let former = found?.former;
  const log = createIndexLog(place, () => content, found?.wholeBytes, onUnusable);
  return Object.assign(
    viewOf(() => content),
    changesOf(() => content, log),
    {
      restart(
        base: EntryPoint | null,
        { hash, cut }: { readonly hash: HashSpec; readonly cut: Cut },
        files: Map<string, FileRecord>,
      ) {
        const { mounts } = content;
        const head = { hash, cut, epoch: newEpoch(), base, mounts };
        content = { ...emptyContent(head), files, lines: Infinity };
        former = undefined;
        log.renew();
      },
      former: () => former,
      save: () => log.save(),
      close: () => log.close(),
    },
  );
}

type View = Pick<
  LocalIndex,
  'epoch' | 'hash' | 'cut' | 'base' | 'files' | 'pieces' | 'packs' | 'mounts' | 'tries'
>;

function viewOf(content: () => Content): View {
  return {
    get epoch() {
      return content().epoch;
    },
    get hash() {
      return content().hash;
    },
    get cut() {
      return content().cut;
    },
    get base() {
      return content().base;
    },
    get files() {
      return content().files;
    },
    get pieces() {
      return content().pieces;
    },
    get packs() {
      return content().packs;
    },
    get mounts() {
      return content().mounts;
    },
    tries: (id) => content().tries.get(id) ?? new Set(),
  };
}

type Changes = Omit<LocalIndex, keyof View | 'restart' | 'former' | 'save' | 'close'>;

function changesOf(content: () => Content, log: IndexLog): Changes {
  const notePack = (name: PackName, bytes: number) => {
    content().packs.set(name, bytes);
    log.later(JSON.stringify({ pack: name, bytes }));
  };
  const lose = async (isThere: (chunk: StoredChunk) => boolean): Promise<number> => {
    let count = 0;
    const { files } = content();
    await forEachInSlices(files, ([path, record]) => {
      const chunks = withoutGone(record.chunks, isThere);
      if (chunks === record.chunks) return;
      count++;
      files.set(path, { ...record, chunks });
      log.later(() => fileLine(path, { ...record, chunks }));
    });
    return count;
  };
  const setPieces = (pieces: ReadonlyMap<string, StoredChunk>) => {
    const before = content().pieces;
    for (const name of before.keys())
      if (!pieces.has(name)) log.later(JSON.stringify({ piece: name, packs: [], chunks: [] }));
    for (const [name, ref] of pieces) if (before.get(name) !== ref) log.later(pieceLine(name, ref));
    content().pieces = new Map(pieces);
  };
  return {
    set(path, record) {
      content().files.set(path, record);
      log.later(() => fileLine(path, record));
    },
    setPart(path, stat, from, chunks) {
      putPart(content(), path, stat, from, chunks);
      log.later(() => partLine(path, stat, from, chunks));
    },
    notePack,
    noteMounts(mounts) {
      const before = content().mounts;
      if (mounts.size === before.size && [...mounts].every((path) => before.has(path))) return;
      content().mounts = mounts;
      log.later(mountsLine(mounts));
    },
    setPieces,
    async noteTry(point) {
      addTry(content(), point);
      log.later(JSON.stringify({ try: point }));
      await log.save();
    },
    async rebase(base, pieces, kept) {
      // The base comes last: a process that is killed before it leaves what is good for the old one.
      setPieces(pieces);
      const { files } = content();
      await forEachInSlices(files.keys(), (path) => {
        if (kept.file(path)) return;
        files.delete(path);
        log.later(JSON.stringify({ gone: path }));
      });
      await lose(({ pack }) => kept.pack(pack));
      const packs = [...content().packs].filter(([name]) => kept.pack(name));
      beginBase(content(), base);
      log.later(JSON.stringify({ base }));
      for (const [name, bytes] of packs) notePack(name, bytes);
    },
    async forgetGone(isThere) {
      const count = await lose(isThere);
      const { pieces } = content();
      for (const [name, piece] of pieces) if (!isThere(piece)) pieces.delete(name);
      return count;
    },
  };
}

/** Names of sets are checked by the config; this one is used as a file name. */
export function indexFileName(directory: string, set: string): string {
  return join(directory, `${encodeURIComponent(set)}.index.jsonl`);
}
