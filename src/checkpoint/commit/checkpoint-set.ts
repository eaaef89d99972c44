import type { MonotonicMs } from '../../base/clock.ts';
import type { EvictdError } from '../../base/errors.ts';
import type { CheckpointReason, CommitRequest } from '../../core/ports.ts';
import { entriesChanging, entriesLost, entriesMoving, explained, folderEmptied } from './commit-error.ts';
import { entriesFor } from './write/entries.ts';
import { look } from './look/look.ts';
import { type Had, partialContent, startPartials } from './write/partial.ts';
import { readFiles } from './send/read-files.ts';
import type { SetWork, Versions } from './set-work.ts';
import { settle } from './send/settle.ts';
import { type IdleOptions, stageIdle } from './stage-idle.ts';
import type { Upload } from './send/upload.ts';
import { type SetWorkplace, createWorkplace } from './workplace.ts';
import type { WorkplaceDependencies, WorkplaceOptions } from './workplace.ts';
import { type WrittenCheckpoint, writeCheckpoint } from './write/write-checkpoint.ts';

export interface Committed {
  readonly id: string;
  readonly files: number;
  readonly bytes: number;
  readonly bytesSent: number;
  /** Nothing had changed since that checkpoint. */
  readonly isFormer: boolean;
  /** What the set holds now is not wholly in it; says why. */
  readonly lost?: EvictdError;
}

/** One set's line of checkpoints. The caller sees to it that only one call is under way at a time. */
export interface CheckpointSet extends Pick<
  SetWorkplace,
  'tracker' | 'activity' | 'newest' | 'save' | 'close'
> {
  /** Scans and sends what the store lacks, except files that change meanwhile; `stop` is asked at each part and ends it early. */
  stage(stop: () => boolean, signal: AbortSignal): Promise<void>;
  /**
   * Tells of each partial one that it makes on the way, by a deadline. Rejects `conflict`, `set-path-missing`, or what
   * the store rejects with.
   */
  commit(
    request: Omit<CommitRequest, 'set'>,
    onPartial: (partial: Committed) => void,
    signal: AbortSignal,
  ): Promise<Committed>;
  /** Asks the store what it has and looks at the files, so that a notice finds that done. */
  prepare(signal: AbortSignal): Promise<void>;
  /** See stage-idle.ts. */
  stageIdle(
    options: IdleOptions,
    giveWay: AbortSignal,
    signal: AbortSignal,
  ): Promise<EvictdError | undefined>;
}

export function createCheckpointSet(
  options: WorkplaceOptions,
  dependencies: WorkplaceDependencies,
): CheckpointSet {
  const workplace = createWorkplace(options, dependencies);
  const { activity, tracker, wallOffsetMs, newest, save, close } = workplace;
  let bytesSentAtCommit = 0;
  return {
    tracker,
    activity,
    newest,
    save,
    close,
    async stage(stop, signal) {
      dependencies.workers.start();
      await using work = await workplace.begin({ isUrgent: true, writes: true }, signal);
      const versions: Versions = new Map();
      const { due } = await look(work, versions, signal);
      if (stop()) return;
      await using upload = workplace.openUpload(work, { stop, pace: undefined });
      await readFiles(work, upload, due, versions, { readsMax: 1, onLost: undefined, wallOffsetMs }, signal);
      // What is sent now needn't be sent once the hooks have ended.
      await upload.flush(signal);
    },
    async commit({ reason, takeOver: takesOver = false, isGuest = false, endsAt }, onPartial, signal) {
      if (reason !== 'schedule') dependencies.workers.start();
      await using work = await workplace.begin(
        { isUrgent: reason === 'notice', writes: true, takesOver },
        signal,
      );
      await using upload = workplace.openUpload(work, { stop: () => false, pace: undefined });
      const bytesBefore = bytesSentAtCommit;
      const making = { workplace, reason, isGuest, bytesBefore };
      const isInParts = endsAt !== undefined && options.set.atDeadline === 'files';
      const committed = isInParts
        ? await commitByDeadline(work, upload, { ...making, endsAt, onPartial }, signal)
        : await commitWhole(work, upload, making, signal);
      if (!committed.isFormer) bytesSentAtCommit = activity.bytesSent;
      return committed;
    },
    async prepare(signal) {
      await using work = await workplace.begin({ isUrgent: false, writes: false }, signal);
      await look(work, new Map(), signal);
    },
    async stageIdle(idle, giveWay, signal) {
      await using work = await workplace.begin({ isUrgent: false, writes: false }, giveWay);
      const openUpload = async (slowness: number) => {
        // So that a conflict is known before the notice.
        await work.ownership.check(signal);
        await work.ownership.takeOver(signal);
        // Once it has to give way nobody waits for the pace any more, so that what is under way can end.
        const pace = async (bytes: number, inner: AbortSignal) => {
          if (giveWay.aborted) return;
          await idle.pace.take(bytes * slowness, giveWay).catch(() => inner.throwIfAborted());
        };
        const stop = () => giveWay.aborted;
        return workplace.openUpload(work, { stop, pace });
      };
      const { keepsDeleted } = workplace;
      return await stageIdle(work, idle, { openUpload, wallOffsetMs, keepsDeleted }, giveWay, signal);
    },
  };
}

interface Making {
  readonly workplace: SetWorkplace;
  readonly reason: CheckpointReason;
  readonly isGuest: boolean;
  /** What this process had sent at the checkpoint before. */
  readonly bytesBefore: number;
}

/** With partial ones until the whole one is there. */
async function commitByDeadline(
  work: SetWork,
  upload: Upload,
  { endsAt, onPartial, ...making }: Making & DeadlineOf,
  signal: AbortSignal,
): Promise<Committed> {
  const { clock, tracker, onNote } = work;
  let had: Had | undefined;
  const partials = startPartials(
    endsAt,
    {
      clock,
      bytesLeft: () => tracker.bytes - tracker.bytesStored,
      bytesPerSecond: making.workplace.bytesPerSecond,
      async write(ends) {
        await upload.storeBegun(ends);
        const onStored = (written: WrittenCheckpoint) => onPartial(committedOf(written));
        if (had !== undefined) await writePartial(work, { ...making, onStored }, had, ends);
      },
      onFailure: (error) => onNote(explained(error, signal)),
    },
    signal,
  );
  try {
    const onLook = (found: Had) => void (had = found);
    const beforeWriting = async () => {
      await upload.flush(signal);
      await partials.end();
    };
    return await commitWhole(work, upload, { ...making, onLook, beforeWriting }, signal);
  } finally {
    await partials.end();
  }
}

function committedOf({ id, totals, isFormer }: WrittenCheckpoint): Committed {
  const { files, bytes, bytesSent } = totals;
  return { id, files, bytes, bytesSent, isFormer };
}

/** Where there is something new to be had. */
async function writePartial(
  work: SetWork,
  {
    workplace,
    reason,
    isGuest,
    bytesBefore,
    onStored,
  }: Making & { readonly onStored: (written: WrittenCheckpoint) => void },
  had: Had,
  signal: AbortSignal,
): Promise<void> {
  const content = await partialContent(work, had, signal);
  if (content === undefined) return;
  const { entries, lost, partial, seq } = content;
  // Of its own, so that it waits for nothing but its metadata.
  await using upload = workplace.openUpload(work, { stop: () => false, pace: undefined });
  const { root } = had.scan;
  const bytesSent = () => work.activity.bytesSent - bytesBefore;
  const told = { root, reason, isGuest, bytesSent, changing: [], lost, partial, seq: () => seq, onStored };
  await writeCheckpoint(work, upload, { entries, ...told }, signal);
}

interface DeadlineOf {
  readonly endsAt: MonotonicMs;
  readonly onPartial: (partial: Committed) => void;
}

interface MakingWhole extends Making {
  readonly onLook?: (had: Had) => void;
  readonly beforeWriting?: () => Promise<void>;
}

async function commitWhole(
  work: SetWork,
  upload: Upload,
  { workplace, reason, isGuest, bytesBefore, onLook, beforeWriting }: MakingWhole,
  signal: AbortSignal,
): Promise<Committed> {
  const { set, onNote, activity } = work;
  const before = work.ownership.checkpoint;
  const { wallOffsetMs } = workplace;
  const settled = await settle(work, upload, { wallOffsetMs, onLook }, signal);
  await beforeWriting?.();
  const { scan, versions, changing, moving } = settled;
  const lost = new Map(settled.lost);
  const entries = await entriesFor(work, scan, versions, lost, signal);
  const content = {
    entries,
    root: scan.root,
    reason,
    isGuest,
    bytesSent: () => activity.bytesSent - bytesBefore,
    changing,
    // In an order that doesn't depend on which was told of first.
    lost: [...lost.keys(), ...moving].toSorted(),
    seq: workplace.highestSeq,
  };
  const { id, totals, isFormer } = await writeCheckpoint(work, upload, content, signal);
  if (changing.length > 0) onNote(entriesChanging(set.path, changing));
  if (totals.files === 0 && before !== undefined && before.totals.files > 0)
    onNote(folderEmptied(set.path, { id: before.id, files: before.totals.files }));
  const [first] = moving;
  if (first !== undefined) lost.set(first, entriesMoving(set.path, moving));
  const committed = committedOf({ id, totals, isFormer });
  return lost.size === 0 ? committed : { ...committed, lost: entriesLost(id, lost) };
}
