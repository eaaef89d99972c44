import type { Clock } from '../../base/clock.ts';
import { EvictdError } from '../../base/errors.ts';
import type { Cut, HashSpec } from '../format/chunk.ts';
import { parsePackName, PACKS, type SetPlace, setPrefix } from '../format/names.ts';
import type { Manifest, Writer } from '../format/manifest.ts';
import { bytesOf } from '../index/chunk-range.ts';
import { type LocalIndex, indexFileName, openLocalIndex } from '../index/local-index.ts';
import { isNothingToSave, openSetFolder } from '../scan/set-folder.ts';
import type { SetOptions } from '../scan/set-options.ts';
import type { BlobStore } from '../store/store.ts';
import type { Workers } from '../worker/workers.ts';
import { type Ownership, createOwnership } from './ownership.ts';
import { type PackList, createPackList } from './pack-list.ts';
import { type RateMeter, type SetActivity, type SetTracker, createTracker } from './progress.ts';
import type { Seen, SetContext, SetWork } from './set-work.ts';
import { type Upload, type UploadWatcher, createUpload } from './upload.ts';

export interface WorkplaceOptions {
  readonly place: SetPlace;
  readonly set: SetOptions;
  readonly writer: Writer;
  /** 8 hex digits, new at each start. */
  readonly process: string;
  readonly hash: HashSpec['name'];
  /** Undefined: nothing is kept between processes. */
  readonly indexDirectory: string | undefined;
  /** Where packs go, when not to the set's own place: a rehearsal's. */
  readonly packPrefix: string | undefined;
}

export interface WorkplaceDependencies {
  readonly store: BlobStore;
  readonly workers: Workers;
  readonly clock: Clock;
  readonly meter: RateMeter;
  /** Something that costs time but loses nothing, or a checkpoint that may not be what was meant. */
  readonly onNote: (set: string, error: EvictdError) => void;
}

/** What a work on a set is for. */
export interface Need {
  /** There is no time to list the packs anew. */
  readonly isUrgent: boolean;
  /** It writes to the store. */
  readonly writes: boolean;
}

export interface NewestCheckpoint {
  readonly id: string;
  /** By the clock of the VM that made it, epoch ms. */
  readonly at: number;
}

/** What stays between two works on a set: what was counted, what the store has, what the files held. */
export interface SetWorkplace {
  readonly tracker: SetTracker;
  readonly activity: SetActivity;
  /** Between the guest's two clocks when this process began, ms. */
  readonly wallOffsetMs: number;
  /** Rejects `conflict`, what openSetFolder rejects with, or what the store rejects with. */
  begin(need: Need, signal: AbortSignal): Promise<SetWork>;
  openUpload(work: SetWork, how: UploadManner): Upload & AsyncDisposable;
  /** The newest checkpoint that is known to be in the store. */
  newest(): NewestCheckpoint | undefined;
  /** The highest number that a pack of this epoch has. */
  highestSeq(this: void): number;
  /** The account keeps what is deleted, as versions. */
  keepsDeleted(this: void): boolean;
  save(): Promise<void>;
  close(): Promise<void>;
}

export interface UploadManner {
  readonly stop: () => boolean;
  readonly pace: ((bytes: number, signal: AbortSignal) => Promise<void>) | undefined;
}

/** Kept for the life of the set: what is chosen at its first commit. 1 MiB is right for databases, tensors and logs. */
const CUT: Cut = { chunkBytes: 1024 ** 2, packBytes: 8 * 1024 ** 2 };
/** Lifecycle rules and people remove packs; a checkpoint must not name what is gone. */
const LIST_AGE_MS_MAX = 15 * 60_000;

export function createWorkplace(
  options: WorkplaceOptions,
  dependencies: WorkplaceDependencies,
): SetWorkplace {
  const { place, set, writer, process, indexDirectory } = options;
  const { store, workers, clock, meter } = dependencies;
  const prefix = setPrefix(place);
  const onNote = (error: EvictdError) => dependencies.onNote(set.name, error);
  const tracker = createTracker();
  const activity: SetActivity = { filesRead: 0, bytesRead: 0, bytesSent: 0, scans: 0, specials: 0 };
  const packs = createPackList(prefix + PACKS, { store, clock });
  const seen = new Map<string, Seen>();
  const context: SetContext = {
    place,
    prefix,
    set,
    writer,
    process,
    store,
    workers,
    clock,
    tracker,
    activity,
    packPrefix: options.packPrefix ?? prefix + PACKS,
    onNote,
  };
  let opened: { readonly index: LocalIndex; readonly ownership: Ownership } | undefined;
  let seq = 0;
  let isVersioned = false;

  const forgetGone = async (index: LocalIndex) => {
    const count = await index.forgetPacks((name) => packs.bytesOf(name) !== undefined);
    if (count > 0) onNote(packsGone(set.name, count));
  };

  const open = async () => {
    if (opened !== undefined) return opened;
    const index = await openLocalIndex(
      {
        file: indexDirectory === undefined ? undefined : indexFileName(indexDirectory, set.name),
        store: `${store.describe} ${prefix}`,
        root: set.path,
        bootId: writer.bootId,
        hash: options.hash,
        cut: CUT,
      },
      onNote,
    );
    const listPacks = async (signal: AbortSignal) => {
      await packs.refresh(signal);
      await forgetGone(index);
    };
    const dependencies = { store, index, clock, onNote, listPacks };
    const ownership = createOwnership({ place, writer, process }, dependencies);
    opened = { index, ownership };
    return opened;
  };

  const bind = async ({ index, ownership }: NonNullable<typeof opened>, need: Need, signal: AbortSignal) => {
    if (!ownership.isBound) packs.forget();
    const isFirst = packs.ageMs === Infinity;
    const isOld = packs.ageMs > LIST_AGE_MS_MAX && !need.isUrgent;
    // Both at once: a notice may come right after the start.
    const listed = isFirst || isOld ? packs.refresh(signal) : undefined;
    listed?.catch(() => undefined);
    // Neither may go on beside the next work, whatever becomes of the other.
    try {
      await ownership.bind(signal);
    } finally {
      await listed;
    }
    for (const name of index.packs.keys()) seq = Math.max(seq, parsePackName(name)?.seq ?? 0);
    seq = Math.max(seq, ownEpochSeq(index, ownership.checkpoint));
    if (isFirst || isOld) await forgetGone(index);
    if (isOld && !isFirst) await ownership.check(signal);
    if (need.writes) await ownership.takeOver(signal);
  };

  return {
    tracker,
    activity,
    wallOffsetMs: clock.wallMs() - clock.monotonicMs(),
    async begin(need, signal) {
      const folder = await openSetFolder(set).catch((error: unknown) => {
        // Where there is nothing to save, nothing is counted.
        if (isNothingToSave(error)) {
          tracker.count().done();
          activity.scans++;
        }
        throw error;
      });
      try {
        const found = await open();
        await bind(found, need, signal);
        const close = () => folder[Symbol.asyncDispose]();
        return { ...context, ...found, folder, packs, seen, [Symbol.asyncDispose]: close };
      } catch (error) {
        await folder[Symbol.asyncDispose]();
        throw error;
      }
    },
    openUpload(work, { stop, pace }) {
      const takeSeqs = (count: number) => Array.from({ length: count }, () => ++seq);
      const { index, folder } = work;
      const upload = createUpload(
        {
          sender: {
            packPrefix: context.packPrefix,
            location: folder.location,
            hash: index.hash,
            cut: index.cut,
            compress: set.compress === 'zstd',
            epoch: index.epoch,
            process,
          },
          takeSeqs,
          stop,
          pace,
        },
        workers,
        watcherOf(work, packs, meter, () => (isVersioned = true)),
      );
      return Object.assign(upload, { [Symbol.asyncDispose]: () => upload.close() });
    },
    newest() {
      const checkpoint = opened?.ownership.checkpoint;
      return checkpoint && { id: checkpoint.id, at: Date.parse(checkpoint.createdAt) };
    },
    highestSeq: () => seq,
    keepsDeleted: () => isVersioned,
    save: async () => opened?.index.save(),
    close: async () => opened?.index.close(),
  };
}

function ownEpochSeq({ epoch }: LocalIndex, checkpoint: Manifest | undefined): number {
  return checkpoint?.epoch === epoch ? checkpoint.seq : 0;
}

/** What the index, the counts and the rate learn from an upload. */
function watcherOf(work: SetWork, packs: PackList, meter: RateMeter, onVersioned: () => void): UploadWatcher {
  const { index, tracker, activity } = work;
  const underWay = new Map<string, (sent: boolean) => void>();
  return {
    onRead(path, bytes, bytesStored) {
      activity.bytesRead += bytes;
      tracker.store(path, bytesStored);
    },
    onPack(event) {
      if (event.kind === 'began') {
        underWay.set(event.name, meter.begin(event.bytes));
        return;
      }
      underWay.get(event.name)?.(event.kind === 'stored');
      underWay.delete(event.name);
      if (event.kind !== 'stored') return;
      if (event.isVersioned) onVersioned();
      activity.bytesSent += event.bytes;
      packs.add(event.name, event.bytes);
      index.notePack(event.name, event.bytes);
    },
    onPartStored(path, from, { before, chunks }) {
      index.setPart(path, before, from, chunks);
      tracker.store(path, bytesOf(chunks));
    },
  };
}

function packsGone(set: string, files: number): EvictdError {
  return new EvictdError(
    'packs-gone',
    `packs of ${set} are not in the store any more: content of ${files} files is sent again`,
    { remedy: 'find out who removes them: a lifecycle rule of the account, or a person' },
  );
}
