import { abandonOn } from '../../../base/abort.ts';
import { AssertionFailed } from '../../../base/assert.ts';
import { createGroup } from '../../../base/concurrency.ts';
import { type FileChunk, type PackName, type StoredChunk, isStored, seqsFor } from '../../format/chunk.ts';
import { bytesOf } from '../../index/chunk-range.ts';
import type { ItemResult, PackEvent, SendItem, Sender, SenderOptions } from '../../pack/sender.ts';
import type { Workers } from '../../worker/workers.ts';
import { type PackWatch, createPackWatch } from './pack-watch.ts';
import { type FileRequest, type Reading, createStretches, isWholeOf, partsOf } from './file-parts.ts';

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
  /**
   * Tells of each file once it is read; of those that are stopped it doesn't. Rejects with what a pack failed with, with
   * what `onReading` throws, or the signal's reason.
   */
  read<Request extends FileRequest>(
    files: Iterable<Request>,
    onReading: (request: Request, reading: Reading) => void,
    signal: AbortSignal,
  ): Promise<void>;
  /** Calls `tell` once every pack with a chunk of that reading is known to be stored, and never otherwise. */
  onceStored(reading: Reading, tell: () => void): void;
  /** Where each piece of metadata is, in order. */
  putPieces(pieces: readonly Uint8Array[], signal: AbortSignal): Promise<readonly StoredChunk[]>;
  /** Begins to send packs that aren't full, and waits for those, while more is read and sent. Not beside itself. */
  storeBegun(signal: AbortSignal): Promise<void>;
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
export function createUpload(options: UploadOptions, workers: Workers, watcher: UploadWatcher): Upload {
  const { cut } = options.sender;
  const senders: (Promise<Sender> | undefined)[] = [];
  const packs = createPackWatch((event) => watcher.onPack(event));
  let bytesNew = 0;
  const senderOf = (thread: number): Promise<Sender> =>
    (senders[thread] ??= workers.openSender(thread, options.sender, packs.onPack));
  const all = async (work: (sender: Sender) => Promise<unknown>) => {
    const results = await Promise.allSettled(senders.map(async (one) => one && work(await one)));
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  };

  return {
    async read(files, onReading, signal) {
      const parts = partsOf(files, cut)[Symbol.iterator]();
      const stretched = createStretches(cut, onReading);
      const work = async (thread: number, inner: AbortSignal) => {
        while (!inner.aborted && !options.stop()) {
          const next = parts.next();
          if (next.done === true) return;
          const part = next.value;
          await options.pace?.(part.bytes, inner);
          const sender = await senderOf(thread);
          const results = await sender.feed(part.items, options.takeSeqs(seqsFor(part.bytes, cut)), inner);
          for (const [index, item] of part.items.entries()) {
            const [request, result] = [part.requests[index], results[index]];
            if (request === undefined || result === undefined)
              throw new AssertionFailed(`${item.path} was not answered`);
            if (result.kind === 'read') {
              bytesNew += result.bytesNew;
              noteRead(request, item, result, watcher, packs);
            }
            if (isWholeOf(item, request)) onReading(request, result);
            else stretched.add(request, item.from, result);
          }
        }
      };
      const group = createGroup(signal);
      for (let thread = 0; thread < workers.count; thread++)
        for (let lane = 0; lane < PARTS_IN_FLIGHT; lane++) group.run((inner) => work(thread, inner));
      await group.settled();
    },
    onceStored: (reading, tell) => packs.whenStored(reading.kind === 'read' ? reading.chunks : [], tell),
    async putPieces(pieces, signal) {
      const bytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
      const sender = await senderOf(0);
      return sender.putPieces(pieces, options.takeSeqs(seqsFor(bytes, cut)), signal);
    },
    async storeBegun(signal) {
      const names = packs.open();
      // While all is flushed there is none.
      if (names.length === 0) return;
      await all((sender) => sender.seal(signal));
      await abandonOn(signal, packs.ended(names));
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
  request: FileRequest,
  { path, from, to }: SendItem,
  result: ItemResult & { readonly kind: 'read' },
  watcher: UploadWatcher,
  packs: PackWatch,
): void {
  const read = bytesOf(result.chunks);
  watcher.onRead(path, read, request.isAgain === true ? 0 : read - result.bytesNew);
  packs.began(result.packs);
  // Of one pack the whole is told of anyway.
  if (result.packs.length <= 1 && to - from === request.to - request.from) return;
  for (const run of runsOf(result.chunks, from)) {
    const tell = () => watcher.onPartStored(path, run.from, { ...result, chunks: run.chunks });
    packs.whenStored(run.chunks, tell);
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
