import { systemClock, type Clock } from '../../src/base/clock.ts';
import { createCheckpointer, type Checkpointer } from '../../src/checkpoint/checkpointer.ts';
import { createReader, type Reader } from '../../src/checkpoint/reader.ts';
import { restore, type RestoreResult } from '../../src/checkpoint/restore.ts';
import type { SetOptions } from '../../src/checkpoint/scan.ts';
import type { TransferLimits } from '../../src/checkpoint/transfer.ts';
import type { BlobStore } from '../../src/checkpoint/store.ts';
import type { CommitResult } from '../../src/core/ports.ts';

/** An hour ahead, so that files which were just written count as long settled. */
export const laterClock: Clock = { ...systemClock, wallMs: () => systemClock.wallMs() + 3_600_000 };

/** One for all: starting its threads takes longer than most of what a test has them do. */
export const reader = createReader({ clock: systemClock });

export const PLACE = { prefix: 'p', key: 'vm-1', set: 'job' };

export interface TestCheckpointerOptions {
  readonly vmName?: string;
  readonly clock?: Clock;
  readonly indexDirectory?: string;
  readonly set?: Partial<SetOptions>;
  readonly onNote?: (set: string, error: Error) => void;
  readonly limits?: TransferLimits;
  /** In place of the shared one, to see or to disturb what is read. */
  readonly reader?: Reader;
}

/** A checkpointer as a process of its own would have it, for one set called `job`. */
export function testCheckpointer(
  store: BlobStore,
  path: string,
  options: TestCheckpointerOptions = {},
): Checkpointer {
  const { vmName = 'vm-1', clock = laterClock, indexDirectory, onNote, limits } = options;
  return createCheckpointer(
    {
      prefix: PLACE.prefix,
      key: PLACE.key,
      sets: [{ name: PLACE.set, path, include: ['**'], exclude: [], priority: 50, ...options.set }],
      writer: { vmName, vmId: `id-of-${vmName}`, bootId: 'boot' },
      ...(indexDirectory !== undefined && { indexDirectory }),
      ...(limits !== undefined && { limits }),
    },
    { store, clock, reader: options.reader ?? reader, ...(onNote !== undefined && { onNote }) },
  );
}

export async function commitJob(checkpointer: Checkpointer, signal = never()): Promise<CommitResult> {
  return checkpointer.commit({ set: PLACE.set, reason: 'command' }, signal);
}

/** Commits, and fails the test with the reason when there is no checkpoint. */
export async function committed(checkpointer: Checkpointer) {
  const result = await commitJob(checkpointer);
  if (result.kind === 'failed') throw new Error(`${result.code}: ${result.detail}`);
  return result;
}

export async function restoreJob(store: BlobStore, target: string, at?: string): Promise<RestoreResult> {
  return restore(
    // Nothing here cuts the power: waiting for the disk would only take time.
    { ...PLACE, target, durable: false, ...(at !== undefined && { at }) },
    { store, clock: laterClock, reader },
    never(),
  );
}

export function never(): AbortSignal {
  return new AbortController().signal;
}
