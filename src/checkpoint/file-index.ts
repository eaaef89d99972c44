import { mkdir, open } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import type { WallMs } from '../base/clock.ts';
import { replaceFile } from '../base/durable-file.ts';
import { EvictdError, isErrno } from '../base/errors.ts';
import { forEachInSlices } from '../base/slices.ts';
import { newHashKey } from './block-id.ts';
import { IndexHeader, IndexLine } from './schema.ts';
import { sameStat } from './file-stat.ts';
import type { FileStat } from './file-stat.ts';

/** What a file held when it was last read. */
export interface IndexEntry {
  readonly stat: FileStat;
  /** Guest wall clock, the clock of the file system's times. */
  readonly readAtMs: WallMs;
  readonly blockSize: number;
  readonly blocks: readonly string[];
}

/** Path → what it held, so that unchanged files aren't read again. Kept in memory, and in a file between processes. */
export interface FileIndex {
  /** The entry, when the file is still as it was then, beyond doubt. */
  unchanged(path: string, stat: FileStat): IndexEntry | undefined;
  /** The entry, when the file seems to be as it was then: good enough for an estimate. */
  likely(path: string, stat: FileStat): IndexEntry | undefined;
  /** On these devices, until the next call, no file counts as unchanged. */
  distrust(devices: ReadonlySet<bigint>): void;
  /** The entry, changed or not since. */
  last(path: string): IndexEntry | undefined;
  /** With which all block ids in it were made. */
  readonly hashKey: string;
  /** Goes on with another key. What was entered under the one before is of no use then, and forgotten. */
  useKey(hashKey: string): void;
  /** It has files, or had some under another key, and none of them was on one of these devices. */
  isOfOthers(devices: ReadonlySet<bigint>): boolean;
  set(path: string, entry: IndexEntry): void;
  readonly size: number;
  /** Forgets files that are gone. */
  keepOnly(paths: ReadonlySet<string>): Promise<void>;
  /** Writes it if anything changed: to a temporary file, synced, renamed. Calls must not overlap. */
  save(): Promise<void>;
}

/**
 * A file that was written within this time before it was read could be written again without a change of its times, so
 * its entry isn't trusted, and the file is read once more at the next look. Writes by a system call within the same
 * tick of the kernel's clock are one reason. Writes through a shared mapping are the other: the kernel stamps the file
 * when a clean page is written to, and not again before that page was written back, which takes
 * `vm.dirty_expire_centisecs` (30 s) and the flusher's interval (5 s), or longer on a busy disk.
 * Source: Linux Documentation/admin-guide/sysctl/vm.rst.
 */
export const DOUBTFUL_MS = 60_000;
/** Read before any file was written. */
const NEVER_MS: WallMs = 0;
const LINE_CHARACTERS_MAX = 4 * 1024 ** 2;

export interface IndexFile {
  /** Undefined: nothing is kept between processes. */
  readonly file: string | undefined;
  /** The set's folder: an index of another folder is not used. */
  readonly root: string;
  /**
   * A machine that lost its power keeps times of writes whose content never reached the disk. So what was read in
   * another boot counts only once the file was compared. Undefined: nothing read by another process counts before that.
   */
  readonly bootId: string | undefined;
}

/**
 * Reads the index from its file. One that can't be used is reported by `onUnusable` and replaced at the next save:
 * it costs time, nothing else.
 */
export async function openFileIndex(
  place: IndexFile,
  onUnusable: (error: EvictdError) => void,
): Promise<FileIndex> {
  let found: Found = { entries: new Map(), hashKey: newHashKey() };
  if (place.file !== undefined) {
    try {
      found = await readEntries(place.file, place);
    } catch (error) {
      if (!isErrno(error, 'ENOENT')) {
        onUnusable(
          new EvictdError(
            'index-unusable',
            `the file index ${place.file} can't be used, reading all files again`,
            {
              cause: error,
            },
          ),
        );
      }
    }
  }
  return createIndex(found, place);
}

interface Found {
  readonly entries: Map<string, IndexEntry>;
  readonly hashKey: string;
}

function createIndex(found: Found, place: IndexFile): FileIndex {
  let { entries, hashKey } = found;
  let changed = false;
  let distrusted: ReadonlySet<bigint> = new Set();
  const formerDevices = new Set<bigint>();
  const likely = (path: string, stat: FileStat): IndexEntry | undefined => {
    const entry = entries.get(path);
    return entry !== undefined && sameStat(entry.stat, stat) ? entry : undefined;
  };
  return {
    unchanged(path, stat) {
      const entry = likely(path, stat);
      return entry === undefined || isDoubtful(entry) || distrusted.has(stat.dev) ? undefined : entry;
    },
    likely,
    distrust: (devices) => void (distrusted = devices),
    last: (path) => entries.get(path),
    get hashKey() {
      return hashKey;
    },
    useKey(other) {
      if (other === hashKey) return;
      hashKey = other;
      for (const { stat } of entries.values()) formerDevices.add(stat.dev);
      // Another map: the one before may be being written just now, with its own key.
      entries = new Map();
      changed = true;
    },
    isOfOthers(devices) {
      if (entries.size + formerDevices.size === 0) return false;
      const isOther = (device: bigint) => !devices.has(device);
      return (
        [...formerDevices].every(isOther) && [...entries.values()].every(({ stat }) => isOther(stat.dev))
      );
    },
    get size() {
      return entries.size;
    },
    set(path, entry) {
      entries.set(path, entry);
      changed = true;
    },
    keepOnly: (paths) =>
      forEachInSlices(entries.keys(), (path) => {
        if (!paths.has(path)) changed = entries.delete(path) || changed;
      }),
    async save() {
      if (!changed || place.file === undefined) return;
      changed = false;
      const key = hashKey;
      try {
        // A copy: files go on being read while it is written.
        const copy: [string, IndexEntry][] = [];
        await forEachInSlices(entries, (entry) => void copy.push(entry));
        await writeEntries(place.file, place, { entries: copy, hashKey: key });
      } catch (error) {
        changed = true;
        throw error;
      }
    },
  };
}

function isDoubtful(entry: IndexEntry): boolean {
  return newestMsOf(entry.stat) > entry.readAtMs - DOUBTFUL_MS;
}

/** When the file was written to or changed for the last time, by its own account. Guest wall clock. */
export function newestMsOf({ mtimeNs, ctimeNs }: FileStat): WallMs {
  return Number((mtimeNs > ctimeNs ? mtimeNs : ctimeNs) / 1_000_000n);
}

/** One JSON line per file, so that neither side holds the whole text. */
async function readEntries(file: string, { root, bootId }: IndexFile): Promise<Found> {
  const entries = new Map<string, IndexEntry>();
  let header: IndexHeader | undefined;
  await using handle = await open(file, 'r');
  for await (const line of handle.readLines({ encoding: 'utf8' })) {
    if (line.length > LINE_CHARACTERS_MAX) throw new EvictdError('index-unusable', 'a line is too long');
    const json: unknown = JSON.parse(line);
    if (header === undefined) {
      header = IndexHeader.parse(json);
      if (header.root !== root) break;
      continue;
    }
    const { path, size, mtimeNs, ctimeNs, ino, dev, ...rest } = IndexLine.parse(json);
    const stat = {
      size,
      mtimeNs: BigInt(mtimeNs),
      ctimeNs: BigInt(ctimeNs),
      ino: BigInt(ino),
      dev: BigInt(dev),
    };
    const isOfThisBoot = bootId !== undefined && header.bootId === bootId;
    entries.set(path, { stat, ...rest, ...(isOfThisBoot ? {} : { readAtMs: NEVER_MS }) });
  }
  if (header !== undefined && header.root !== root) return { entries, hashKey: newHashKey() };
  if (header?.entries !== entries.size) throw new EvictdError('index-unusable', 'it is not complete');
  return { entries, hashKey: header.hashKey };
}

const WRITE_CHARACTERS = 1024 ** 2;

interface Kept {
  readonly entries: readonly (readonly [path: string, entry: IndexEntry])[];
  readonly hashKey: string;
}

async function writeEntries(file: string, place: IndexFile, found: Kept): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  await replaceFile(file, linesOf(place, found));
}

function* linesOf({ root, bootId }: IndexFile, { entries, hashKey }: Kept): Iterable<string> {
  const header: IndexHeader = { version: 2, root, bootId, entries: entries.length, hashKey };
  let text = `${JSON.stringify(header)}\n`;
  for (const [path, { stat, ...rest }] of entries) {
    text += `${JSON.stringify({ path, ...lineStat(stat), ...rest })}\n`;
    if (text.length < WRITE_CHARACTERS) continue;
    yield text;
    text = '';
  }
  yield text;
}

function lineStat({ size, mtimeNs, ctimeNs, ino, dev }: FileStat) {
  return {
    size,
    mtimeNs: String(mtimeNs),
    ctimeNs: String(ctimeNs),
    ino: String(ino),
    dev: String(dev),
  };
}

/** Names of sets are checked by the config; this one is used as a file name. */
export function indexFileName(directory: string, set: string): string {
  return join(directory, `${encodeURIComponent(set)}.index.jsonl`);
}
