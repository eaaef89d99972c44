import type { Clock } from '../../base/clock.ts';
import { EvictdError } from '../../base/errors.ts';
import type { Cut, HashSpec } from '../format/chunk.ts';
import { parsePackName, PACKS, type SetPlace, setPrefix } from '../format/names.ts';
import type { Writer } from '../format/manifest.ts';
import { type LocalIndex, indexFileName, openLocalIndex } from '../index/local-index.ts';
import { type SetFolder, isNothingToSave, openSetFolder } from '../scan/set-folder.ts';
import type { SetOptions } from '../scan/set-options.ts';
import type { BlobStore } from '../store/store.ts';
import type { Workers } from '../worker/workers.ts';
import { type Ownership, createOwnership } from './own/ownership.ts';
import { type PackList, createPackList } from './own/pack-list.ts';
import { type RateMeter, type SetActivity, type SetTracker, createTracker } from './progress.ts';
import type { Seen, SetContext, SetWork } from './set-work.ts';
import { type Upload, createUpload } from './send/upload.ts';
import { watcherOf } from './send/upload-watcher.ts';

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
  /** Whatever another writer wrote, it goes on from that; and whatever the set holds, it is meant to be so. */
  readonly takesOver?: boolean;
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
  newest(this: void): NewestCheckpoint | undefined;
  /** The highest number that a pack of this epoch has. */
  highestSeq(this: void): number;
  /** The account keeps what is deleted, as versions. */
  keepsDeleted(this: void): boolean;
  /** What is being sent; undefined until something was. */
  bytesPerSecond(this: void): number | undefined;
  save(this: void): Promise<void>;
  close(this: void): Promise<void>;
}

export interface UploadManner {
  readonly stop: () => boolean;
  readonly pace: ((bytes: number, signal: AbortSignal) => Promise<void>) | undefined;
}

const MIB = 1024 ** 2;
const TIB = 1024 ** 4;
/** 1 MiB is right for databases, tensors and logs. */
const CUT: Cut = { chunkBytes: MIB, packBytes: 8 * MIB };

/** For the life of a set, by how large it is when it is written first: of much larger ones the lists would be too long. */
function cutFor(bytes: number): Cut {
  if (bytes <= TIB) return CUT;
  const times = bytes <= 4 * TIB ? 4 : 8;
  return { chunkBytes: times * MIB, packBytes: times * 8 * MIB };
}
/** Lifecycle rules and people remove packs; a checkpoint must not name what is gone. */
const LIST_AGE_MS_MAX = 15 * 60_000;

export function createWorkplace(
  options: WorkplaceOptions,
  dependencies: WorkplaceDependencies,
): SetWorkplace {
  const { set, process } = options;
  const { clock, workers, meter } = dependencies;
  const context = contextOf(options, dependencies);
  const { tracker, activity } = context;
  const packs = createPackList(context.prefix + PACKS, dependencies);
  const seen = new Map<string, Seen>();
  const seqs: Seqs = { highest: 0 };
  let opened: OpenSet | undefined;
  let isVersioned = false;
  return {
    tracker,
    activity,
    wallOffsetMs: clock.wallMs() - clock.monotonicMs(),
    async begin(need, signal) {
      const folder = await openCounted(context);
      try {
        opened ??= await openSet(context, options, packs);
        await bind(context, opened, packs, seqs, need, signal);
        const close = () => folder[Symbol.asyncDispose]();
        const isEmptyMeant = need.takesOver === true;
        return { ...context, ...opened, folder, packs, seen, isEmptyMeant, [Symbol.asyncDispose]: close };
      } catch (error) {
        await folder[Symbol.asyncDispose]();
        throw error;
      }
    },
    openUpload(work, manner) {
      const { index, folder } = work;
      const sender = {
        packPrefix: context.packPrefix,
        location: folder.location,
        hash: index.hash,
        cut: index.cut,
        compress: set.compress === 'zstd',
        epoch: index.epoch,
        process,
      };
      const takeSeqs = (count: number) => Array.from({ length: count }, () => ++seqs.highest);
      const watcher = watcherOf(work, packs, meter, () => (isVersioned = true));
      const upload = createUpload({ sender, takeSeqs, ...manner }, workers, watcher);
      return Object.assign(upload, { [Symbol.asyncDispose]: () => upload.close() });
    },
    newest() {
      const checkpoint = opened?.ownership.checkpoint;
      return checkpoint && { id: checkpoint.id, at: Date.parse(checkpoint.createdAt) };
    },
    highestSeq: () => seqs.highest,
    keepsDeleted: () => isVersioned,
    bytesPerSecond: () => meter.bytesPerSecond,
    save: async () => opened?.index.save(),
    close: async () => opened?.index.close(),
  };
}

interface OpenSet {
  readonly index: LocalIndex;
  readonly ownership: Ownership;
}

/** Numbers of packs of this epoch. */
interface Seqs {
  highest: number;
}

function contextOf(options: WorkplaceOptions, dependencies: WorkplaceDependencies): SetContext {
  const { place, set, writer, process } = options;
  const { store, workers, clock } = dependencies;
  const prefix = setPrefix(place);
  return {
    place,
    prefix,
    set,
    writer,
    process,
    store,
    workers,
    clock,
    tracker: createTracker(),
    activity: { filesRead: 0, bytesRead: 0, bytesSent: 0, scans: 0, specials: 0 },
    packPrefix: options.packPrefix ?? prefix + PACKS,
    onNote: (error) => dependencies.onNote(set.name, error),
  };
}

/** Where there is nothing to save, nothing is counted. */
async function openCounted({ set, tracker, activity }: SetContext): Promise<SetFolder> {
  try {
    return await openSetFolder(set);
  } catch (error) {
    if (isNothingToSave(error)) {
      tracker.count().done();
      activity.scans++;
    }
    throw error;
  }
}

async function openSet(
  context: SetContext,
  { indexDirectory, hash }: WorkplaceOptions,
  packs: PackList,
): Promise<OpenSet> {
  const { place, prefix, set, writer, process, store, clock, onNote, tracker } = context;
  const index = await openLocalIndex(
    {
      file: indexDirectory === undefined ? undefined : indexFileName(indexDirectory, set.name),
      store: `${store.describe} ${prefix}`,
      root: set.path,
      bootId: writer.bootId,
      hash,
      cut: CUT,
    },
    onNote,
  );
  const listPacks = async (signal: AbortSignal) => {
    await packs.refresh(signal);
    await forgetGone(context, index, packs);
  };
  const newCut = () => cutFor(tracker.bytes);
  const dependencies = { store, index, clock, onNote, listPacks, newCut };
  const ownership = createOwnership({ place, writer, process }, dependencies);
  return { index, ownership };
}

async function forgetGone({ set, onNote }: SetContext, index: LocalIndex, packs: PackList): Promise<void> {
  const count = await index.forgetGone((chunk) => packs.has(chunk));
  if (count > 0) onNote(packsGone(set.name, count));
}

async function bind(
  context: SetContext,
  { index, ownership }: OpenSet,
  packs: PackList,
  seqs: Seqs,
  need: Need,
  signal: AbortSignal,
): Promise<void> {
  if (need.takesOver === true) ownership.release();
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
  for (const name of index.packs.keys()) seqs.highest = Math.max(seqs.highest, parsePackName(name)?.seq ?? 0);
  const { checkpoint } = ownership;
  if (checkpoint?.epoch === index.epoch) seqs.highest = Math.max(seqs.highest, checkpoint.seq);
  if (isFirst || isOld) await forgetGone(context, index, packs);
  if (isOld && !isFirst) await ownership.check(signal);
  if (need.writes) await ownership.takeOver(signal);
}

function packsGone(set: string, files: number): EvictdError {
  return new EvictdError(
    'packs-gone',
    `packs of ${set} are not in the store any more: content of ${files} files is sent again`,
    { remedy: 'find out who removes them: a lifecycle rule of the account, or a person' },
  );
}
