import { AssertionFailed } from '../../base/assert.ts';
import { createGroup } from '../../base/concurrency.ts';
import { forEachInSlices } from '../../base/slices.ts';
import {
  type Cut,
  type FileChunk,
  type PackName,
  type StoredChunk,
  isStored,
  seqsFor,
} from '../format/chunk.ts';
import { bytesOf, mergeHoles } from '../index/chunk-range.ts';
import type { ItemResult, PackEvent, SendItem, Sender, SenderOptions } from '../pack/sender.ts';
import { sameStat } from '../scan/file-stat.ts';
import type { Workers } from '../worker/workers.ts';
import { type PackWatch, createPackWatch } from './pack-watch.ts';

/** A file that is to be read, and of which the store is to have what it holds. */
export interface FileRequest {
  readonly path: string;
  /** Read from here, a multiple of the chunk size; 0 for all of it. */
  readonly from: number;
  /** Read no further; as long as it was when it was looked at. */
  readonly to: number;
  /** What it held before, from byte 0 on. */
  readonly known: readonly FileChunk[];
  /** `known` was read a moment ago, and needn't be stored yet. */
  readonly isAgain?: boolean;
}

/** What reading from `from` on gave; whether the store has it is known by then. */
export type Reading =
  | Omit<Extract<ItemResult, { kind: 'read' }>, 'packs'>
  | Exclude<ItemResult, { kind: 'read' }>;

export interface UploadWatcher {
  /** So many bytes were read; of `path`, so many of those were in the store already. */
  onRead(path: string, bytes: number, bytesStored: number): void;
  onPack(event: PackEvent): void;
  /** The store has what was read of a part of the file, from byte `from` on, whatever becomes of the rest. */
  onPartStored(path: string, from: number, part: ItemResult & { readonly kind: 'read' }): void;
}

export interface UploadOptions {
  readonly sender: SenderOptions;
  /** Numbers of packs that nobody had before. */
  readonly takeSeqs: (count: number) => readonly number[];
  /** Asked before each part: true ends the reading early. */
  readonly stop: () => boolean;
  /** Waits until so many bytes may be read. */
  readonly pace: ((bytes: number, signal: AbortSignal) => Promise<void>) | undefined;
}

/** Reads files by all threads at once and sends what the store lacks. It has memory in each thread: close it. */
export interface Upload {
  /** The readings by path; without those that were stopped. Rejects with what a pack failed with, or the signal's reason. */
  read(files: readonly FileRequest[], signal: AbortSignal): Promise<ReadonlyMap<string, Reading>>;
  /** Calls `tell` once every pack with a chunk of that reading is known to be stored, and never otherwise. */
  onceStored(reading: Reading, tell: () => void): void;
  /** Where each piece of metadata is, in order. */
  putPieces(pieces: readonly Uint8Array[], signal: AbortSignal): Promise<readonly StoredChunk[]>;
  /** Begins to send packs that aren't full, and waits until all of it is stored. */
  flush(signal: AbortSignal): Promise<void>;
  /** Resolves once every pack that files were put into is full or being sent; asked after `flush`. */
  sealed(): Promise<void>;
  /** Bytes of new content that no pack which is full or being sent has. */
  leftBytes(): number;
  /** Of a pack that is full or being sent. */
  bytesOf(name: PackName): number | undefined;
  /** Forgets what only packs hold that aren't full. */
  drop(signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/** One after the other these keep a thread busy: one is read while the answer to the other is on its way. */
const PARTS_IN_FLIGHT = 2;
/** What is read as one part: a pack's worth of small files, or a stretch of a large one. */
const PART_FILES_MAX = 1000;
const PART_BYTES = 8 * 1024 ** 2;
const STRETCH_BYTES_MIN = 32 * 1024 ** 2;
/** So many stretches at most make up a file, however long its holes are. */
const STRETCHES_MAX = 1024;

export function createUpload(options: UploadOptions, workers: Workers, watcher: UploadWatcher): Upload {
  const { cut } = options.sender;
  const senders: (Promise<Sender> | undefined)[] = [];
  const packs = createPackWatch((event) => watcher.onPack(event));
  const packsOfReading = new WeakMap<Reading, ReadonlySet<PackName>>();
  let bytesNew = 0;
  const senderOf = (thread: number): Promise<Sender> =>
    (senders[thread] ??= workers.openSender(thread, options.sender, packs.onPack));
  const all = async (work: (sender: Sender) => Promise<unknown>) => {
    const results = await Promise.allSettled(senders.map(async (one) => one && work(await one)));
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  };

  return {
    async read(files, signal) {
      const parts = partsOf(files, cut)[Symbol.iterator]();
      const found = new Map<FileRequest, Stretch[]>();
      const work = async (thread: number, inner: AbortSignal) => {
        while (!inner.aborted && !options.stop()) {
          const next = parts.next();
          if (next.done === true) return;
          const part = next.value;
          const bytes = part.reduce((sum, { item }) => sum + item.to - item.from, 0);
          await options.pace?.(bytes, inner);
          const sender = await senderOf(thread);
          const items = part.map(({ item }) => item);
          const results = await sender.feed(items, options.takeSeqs(seqsFor(bytes, cut)), inner);
          for (const [index, one] of part.entries()) {
            const result = results[index];
            if (result === undefined) throw new AssertionFailed(`${one.item.path} was not answered`);
            if (result.kind === 'read') {
              bytesNew += result.bytesNew;
              noteRead(one, result, watcher, packs);
            }
            const stretch = { from: one.item.from, result };
            found.set(one.request, [...(found.get(one.request) ?? []), stretch]);
          }
        }
      };
      const group = createGroup(signal);
      for (let thread = 0; thread < workers.count; thread++)
        for (let lane = 0; lane < PARTS_IN_FLIGHT; lane++) group.run((inner) => work(thread, inner));
      await group.settled();
      const readings = new Map<string, Reading>();
      const put = ([request, stretches]: readonly [FileRequest, readonly Stretch[]]) => {
        if (stretchesDone(stretches, request, cut) < stretchCount(request, cut)) return;
        const reading = combined(stretches);
        readings.set(request.path, reading);
        if (reading.kind === 'read') packsOfReading.set(reading, packs.ofOurs(reading.chunks));
      };
      await forEachInSlices(found, put, signal);
      return readings;
    },
    onceStored: (reading, tell) => packs.whenStored(packsOfReading.get(reading) ?? [], tell),
    async putPieces(pieces, signal) {
      const bytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
      const sender = await senderOf(0);
      return sender.putPieces(pieces, options.takeSeqs(seqsFor(bytes, cut)), signal);
    },
    flush: (signal) => all((sender) => sender.flush(signal)),
    sealed: packs.sealed,
    bytesOf: packs.bytesOf,
    leftBytes: () => Math.max(0, bytesNew - packs.sealedBytes()),
    drop: (signal) => all((sender) => sender.drop(signal)),
    close: async () => {
      await Promise.allSettled(senders.map(async (one) => (await one)?.close()));
    },
  };
}

function noteRead(
  { request, item }: Part,
  result: ItemResult & { readonly kind: 'read' },
  watcher: UploadWatcher,
  packs: PackWatch,
): void {
  const read = bytesOf(result.chunks);
  watcher.onRead(item.path, read, request.isAgain === true ? 0 : read - result.bytesNew);
  packs.began(result.packs);
  // Of one pack the whole is told of anyway.
  if (result.packs.length <= 1 && item.to - item.from === request.to - request.from) return;
  for (const { from, chunks } of runsOf(result.chunks, item.from)) {
    const tell = () => watcher.onPartStored(item.path, from, { ...result, chunks });
    packs.whenStored(packs.ofOurs(chunks), tell);
  }
}

/** Chunks one after the other that are in one pack, and where they begin. */
function runsOf(
  chunks: readonly FileChunk[],
  from: number,
): readonly { readonly from: number; readonly chunks: readonly FileChunk[] }[] {
  const runs: { readonly from: number; readonly pack: PackName | undefined; readonly chunks: FileChunk[] }[] =
    [];
  let position = from;
  for (const chunk of chunks) {
    const pack = isStored(chunk) ? chunk.pack : undefined;
    const last = runs.at(-1);
    if (last !== undefined && last.pack === pack) last.chunks.push(chunk);
    else runs.push({ from: position, pack, chunks: [chunk] });
    position += chunk.plain;
  }
  return runs;
}

interface Stretch {
  readonly from: number;
  readonly result: ItemResult;
}

interface Part {
  readonly request: FileRequest;
  readonly item: SendItem;
}

/** Small files together, large ones in stretches; in the order of `files`. */
function* partsOf(files: readonly FileRequest[], cut: Cut): Iterable<readonly Part[]> {
  let part: Part[] = [];
  let bytes = 0;
  for (const request of files) {
    const { path, from, to } = request;
    const stretch = stretchBytes(request, cut);
    const isSmall = to - from <= PART_BYTES / 2;
    const isFull = !isSmall || part.length === PART_FILES_MAX || bytes + to - from > PART_BYTES;
    if (isFull && part.length > 0) {
      yield part;
      part = [];
      bytes = 0;
    }
    for (let start = from; start === from || start < to; start += stretch) {
      const end = Math.min(start + stretch, to);
      const item = { path, from: start, to: end, size: to, known: knownIn(request.known, start, end, cut) };
      if (!isSmall) yield [{ request, item }];
      else part.push({ request, item });
    }
    if (isSmall) bytes += to - from;
  }
  if (part.length > 0) yield part;
}

function stretchBytes({ from, to }: FileRequest, { chunkBytes }: Cut): number {
  const least = Math.max(STRETCH_BYTES_MIN, chunkBytes, (to - from) / STRETCHES_MAX);
  return Math.ceil(least / chunkBytes) * chunkBytes;
}

function stretchCount(request: FileRequest, cut: Cut): number {
  return Math.max(1, Math.ceil((request.to - request.from) / stretchBytes(request, cut)));
}

function stretchesDone(found: readonly Stretch[], request: FileRequest, cut: Cut): number {
  // What can't be had at one place can't be had at all: the rest of it needn't be waited for.
  return found.some(({ result }) => result.kind !== 'read') ? stretchCount(request, cut) : found.length;
}

/** Chunks of the byte range, a hole cut as content would be. */
function knownIn(
  chunks: readonly FileChunk[],
  from: number,
  to: number,
  { chunkBytes }: Cut,
): readonly FileChunk[] {
  const found: FileChunk[] = [];
  let position = 0;
  for (const chunk of chunks) {
    const end = position + chunk.plain;
    if (position >= to) break;
    if (end > from) {
      if (isStored(chunk)) found.push(chunk);
      else
        for (let at = Math.max(position, from); at < Math.min(end, to); at += chunkBytes)
          found.push({ plain: Math.min(chunkBytes, end - at) });
    }
    position = end;
  }
  return found;
}

/** Of stretches of one file, read by several threads, the whole. */
function combined(found: readonly Stretch[]): Reading {
  const results: (ItemResult & { kind: 'read' })[] = [];
  for (const { result } of found.toSorted((one, other) => one.from - other.from)) {
    if (result.kind !== 'read') return result;
    results.push(result);
  }
  const [first] = results;
  if (first === undefined) throw new AssertionFailed('a file was read in no stretch');
  const { before } = first;
  // Whatever differs anywhere was written to in between, or another file had the name by then. That the last name was
  // lost is nothing of that, and must not hide it.
  const stats = results.flatMap((one) => [
    one.before,
    one.isUnlinked ? { ...one.after, ctimeNs: one.before.ctimeNs } : one.after,
  ]);
  const after = stats.find((stat) => !sameStat(stat, before)) ?? before;
  return {
    kind: 'read',
    before,
    after,
    isUnlinked: false,
    beganAt: Math.min(...results.map(({ beganAt }) => beganAt)),
    chunks: mergeHoles(results.flatMap(({ chunks }) => chunks)),
    bytesNew: results.reduce((sum, { bytesNew }) => sum + bytesNew, 0),
  };
}
