import { childController } from '../../../base/abort.ts';
import type { Clock, MonotonicMs } from '../../../base/clock.ts';
import { EvictdError } from '../../../base/errors.ts';
import { forEachInSlices } from '../../../base/slices.ts';
import { type PackName, isStored } from '../../format/chunk.ts';
import type { Entry } from '../../format/entry.ts';
import type { Manifest } from '../../format/manifest.ts';
import { namedPaths } from '../../format/manifest-json.ts';
import { parsePackName } from '../../format/names.ts';
import type { Scan } from '../../scan/scan.ts';
import { matcher } from '../../scan/set-patterns.ts';
import { entriesWithFormer } from './entries.ts';
import type { SetWork, Versions } from '../set-work.ts';

/*
 * Partial checkpoints: what is stored of a set when its time runs out. In one of them a file is new only as a whole, else
 * as the checkpoint before has it, else absent; nothing disappears, and files that go `together` are all new or all old.
 * Sending goes on meanwhile, towards a whole one. Nobody acknowledges a partial one.
 */

export interface Partials {
  /** Begins no more of them, and ends one that is being written. Never rejects. */
  end(): Promise<void>;
}

export interface PartialsDependencies {
  readonly clock: Clock;
  readonly bytesLeft: () => number;
  readonly bytesPerSecond: () => number | undefined;
  readonly write: (signal: AbortSignal) => Promise<void>;
  readonly onFailure: (error: unknown) => void;
}

/** Below this only the whole one is worth the time. */
const LEFT_MS_MIN = 2000;
/** What is left fits when it needs no more than this share of the time. */
const FITS = 0.5;

/**
 * Writes one at half of the time first, since the notice may be shorter than it says, then at half of what is left, and
 * so on; not as long as all of the rest seems to fit, except for the last time.
 */
export function startPartials(
  endsAt: MonotonicMs,
  dependencies: PartialsDependencies,
  signal: AbortSignal,
): Partials {
  const { clock, bytesLeft, bytesPerSecond, write, onFailure } = dependencies;
  let timer: Disposable | undefined;
  let writing: Promise<void> | undefined;
  const over = childController(signal);
  const leftMs = () => endsAt - clock.monotonicMs();
  const fits = () => (bytesLeft() / (bytesPerSecond() ?? 0)) * 1000 <= leftMs() * FITS;
  const told = (error: unknown) => {
    if (!over.signal.aborted) onFailure(error);
  };
  const arm = () => {
    if (over.signal.aborted || leftMs() < LEFT_MS_MIN) return;
    timer = clock.timer(leftMs() / 2, () => {
      const waits = leftMs() >= LEFT_MS_MIN && fits();
      writing = waits ? Promise.resolve() : write(over.signal).catch(told);
      void writing.then(arm);
    });
  };
  arm();
  return {
    async end() {
      timer?.[Symbol.dispose]();
      over.abort(new EvictdError('aborted', 'the whole checkpoint takes the place of a partial one'));
      over[Symbol.dispose]();
      await writing;
    },
  };
}

export interface PartialContent {
  readonly entries: readonly Entry[];
  readonly lost: readonly string[];
  readonly partial: NonNullable<Manifest['partial']>;
  /** Below it this epoch's packs are named by it, or of no use any more. */
  readonly seq: number;
}

/** What a look has found, and what was had of it since. */
export interface Had {
  readonly scan: Scan;
  readonly versions: Versions;
  readonly lost: ReadonlyMap<string, EvictdError>;
}

/** What a partial checkpoint would have by now; undefined where that is nothing new. */
export async function partialContent(
  work: SetWork,
  { scan, versions, lost: lostSoFar }: Had,
  signal: AbortSignal,
): Promise<PartialContent | undefined> {
  const { set, index, ownership, packs } = work;
  const { checkpoint } = ownership;
  // All that was stored since the checkpoint before may be needed by the whole one.
  const seq = checkpoint?.epoch === index.epoch ? checkpoint.seq : 0;
  const lost = new Map([...scan.lost, ...lostSoFar]);
  const isTogether = matcher(set.together ?? []);
  /** Sending goes on meanwhile, so what is stored is asked only once. */
  const stored: Versions = new Map();
  let isAnySent = false;
  const note = (path: string) => {
    const version = versions.get(path);
    if (version === undefined || lost.has(path)) return;
    const own = version.chunks.filter(isStored);
    if (!own.every((chunk) => packs.has(chunk))) return;
    stored.set(path, version);
    isAnySent ||= own.some(({ pack }) => isSince(pack, index.epoch, seq));
  };
  await forEachInSlices(scan.files, ({ path }) => note(path), signal);
  if (!isAnySent) return undefined;
  const isGroupNew =
    scan.files.every(({ path }) => !isTogether(path) || stored.has(path)) &&
    scan.hardLinks.every(({ path, target }) => !isTogether(path) || stored.has(target));
  const isTaken = (path: string) => isGroupNew || !isTogether(path);
  const files = scan.files.filter(({ path }) => stored.has(path) && isTaken(path));
  const taken = new Set(files.map(({ path }) => path));
  const hardLinks = scan.hardLinks.filter(({ path, target }) => taken.has(target) && isTaken(path));
  const isWanted = (path: string) => !(isGroupNew && isTogether(path));
  const found = { scan: { ...scan, files, hardLinks }, versions: stored, isWanted };
  const { entries, former } = await entriesWithFormer(work, found, lost, signal);
  const older = former.flatMap(({ path, type }) => (type === 'file' || type === 'hardlink' ? [path] : []));
  const there = new Set(entries.map(({ path }) => path));
  const absent = [...scan.files, ...scan.hardLinks].flatMap(({ path }) => (there.has(path) ? [] : [path]));
  const partial = { older: namedPaths(older), absent: namedPaths(absent) };
  return { entries, lost: [...lost.keys()].toSorted(), partial, seq };
}

/** Begun by the epoch after its packs up to that number. */
export function isSince(name: PackName, epoch: string, seq: number): boolean {
  const pack = parsePackName(name);
  return pack?.epoch === epoch && pack.seq > seq;
}
