import type { Clock } from '../base/clock.ts';
import { forEachLimit } from '../base/concurrency.ts';
import { EvictdError } from '../base/errors.ts';
import { forEachInSlices } from '../base/slices.ts';
import { DOUBTFUL_MS, newestMsOf } from './file-index.ts';
import { pacedTransfer } from './pace.ts';
import type { Pace } from './pace.ts';
import { quotePath } from './path-name.ts';
import type { ScannedFile } from './scan.ts';
import { likelyStored, sendFile } from './send-file.ts';
import type { SendContext } from './send-file.ts';
import { look } from './settle.ts';
import type { SetWork } from './set-work.ts';
import type { StagedBlocks } from './staged-blocks.ts';

export interface IdleOptions {
  /** A file is left alone until it was not written to for so long. */
  readonly idleMs: number;
  /** Shared by all sets. */
  readonly pace: Pace;
}

export interface IdleDependencies {
  readonly staged: StagedBlocks;
  readonly clock: Clock;
}

/** Few, as nobody waits for it. */
const FILES_IN_FLIGHT = 4;
/** Files whose times never show all writes are compared again after this. */
const COMPARE_AGAIN_MS = 300_000;
/**
 * A blob may have 100,000 uncommitted blocks, and a file 50,000: as many are left to the commit.
 * Source: learn.microsoft.com/rest/api/storageservices/put-block.
 */
const STAGED_MAX = 50_000;
const OF_THE_FILE = new Set(['file-unreadable', 'file-failed', 'file-too-large', 'reader-failed']);

/**
 * Stages what is new in files that nobody writes to at the moment. Ends early, with what was sent in use, once
 * `giveWay` is aborted; before anything is sent it then rejects with that signal's reason.
 * A file that can't be staged doesn't hold up the others; the first such problem is answered.
 */
export async function stageIdle(
  work: SetWork,
  { idleMs, pace }: IdleOptions,
  { staged, clock }: IdleDependencies,
  giveWay: AbortSignal,
  signal: AbortSignal,
): Promise<EvictdError | undefined> {
  let problem: EvictdError | undefined;
  const { scan } = await look(work, new Map(), giveWay);
  const context: SendContext = {
    ...work.send,
    transfer: pacedTransfer(work.send.transfer, pace, giveWay),
  };
  const mode = { stop: () => giveWay.aborted, readsMax: 1, changing: 'leave' } as const;
  const due: ScannedFile[] = [];
  const note = (file: ScannedFile) => {
    if (isDue(context, staged, file, idleMs, clock)) due.push(file);
  };
  await forEachInSlices(scan.files, note, giveWay);
  await forEachLimit(due, FILES_IN_FLIGHT, signal, async (file, inner) => {
    if (giveWay.aborted) return;
    const blob = context.blobOf(file.path);
    const name = context.prefix + blob.name;
    try {
      if (staged.count(name) >= STAGED_MAX) throw full(file);
      if (staged.isExpiring(name)) forgetOne(context, staged, file);
      await sendFile(context, file, mode, inner);
    } catch (error) {
      if (
        !(error instanceof EvictdError) ||
        !(error.code === 'staging-full' || OF_THE_FILE.has(error.code))
      ) {
        throw error;
      }
      problem ??= error;
    }
  });
  return problem;
}

function isDue(
  context: SendContext,
  staged: StagedBlocks,
  file: ScannedFile,
  idleMs: number,
  clock: Clock,
): boolean {
  const { path, stat } = file;
  const now = clock.wallMs();
  // The time of change can't be set from outside, as that of the content can.
  const quietMs = now - Number(stat.ctimeNs / 1_000_000n);
  if (quietMs >= 0 && quietMs < idleMs) return false;
  const entry = context.index.likely(path, stat);
  if (entry === undefined || !likelyStored(context, file)) return true;
  if (staged.isExpiring(context.prefix + context.blobOf(path).name)) return true;
  if (context.index.unchanged(path, stat) !== undefined) return false;
  // Comparing it earlier would leave the same doubt, and the commit compares it anyway.
  return newestMsOf(stat) > entry.readAtMs - DOUBTFUL_MS
    ? now - newestMsOf(stat) >= DOUBTFUL_MS
    : now - entry.readAtMs >= COMPARE_AGAIN_MS;
}

/** One of its staged blocks is sent again, and with it all of them are kept. */
function forgetOne(context: SendContext, staged: StagedBlocks, { path, stat }: ScannedFile): void {
  const blob = context.blobOf(path);
  const name = context.prefix + blob.name;
  const id = context.index.likely(path, stat)?.blocks.find((block) => staged.has(name, block));
  if (id !== undefined) blob.blocks.delete(id);
}

function full({ path }: ScannedFile): EvictdError {
  return new EvictdError(
    'staging-full',
    `${quotePath(path)} has ${STAGED_MAX} staged blocks that no checkpoint has used; it is left to the next checkpoint`,
    { remedy: 'set checkpoint.every, so that what is staged gets committed' },
  );
}
