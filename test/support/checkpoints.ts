import { type Clock, systemClock } from '../../src/base/clock.ts';
import type { EvictdError } from '../../src/base/errors.ts';
import { type Checkpointer, createCheckpointer } from '../../src/checkpoint/commit/checkpointer.ts';
import { type RestoreResult, restoreSet } from '../../src/checkpoint/restore/restore-set.ts';
import type { SetOptions } from '../../src/checkpoint/scan/set-options.ts';
import type { BlobStore } from '../../src/checkpoint/store/store.ts';
import { createLocalWorkers } from './local-workers.ts';
import type { Workers } from '../../src/checkpoint/worker/workers.ts';
import type { CommitResult } from '../../src/core/ports.ts';

/** The system's clock, set forward: by the wall an hour, so that files which were just written count as settled. */
export interface ShiftedClock extends Clock {
  /** Both clocks go on by so much at once. */
  advance(ms: number): void;
}

export function shiftedClock(wallMs = 3_600_000): ShiftedClock {
  let shift = 0;
  return {
    ...systemClock,
    monotonicMs: () => systemClock.monotonicMs() + shift,
    wallMs: () => systemClock.wallMs() + wallMs + shift,
    advance: (ms) => void (shift += ms),
  };
}

export const laterClock: Clock = shiftedClock();

export const PLACE = { prefix: 'p', key: 'vm-1', set: 'job' };
export const SET_PREFIX = 'p/vm-1/sets/job/';

export interface TestCheckpointerOptions {
  readonly vmName?: string;
  readonly bootId?: string;
  readonly clock?: Clock;
  readonly indexDirectory?: string;
  readonly set?: Partial<SetOptions>;
  readonly onNote?: (set: string, error: EvictdError) => void;
  /** In place of local ones, to see or to disturb what is read. */
  readonly workers?: (workers: Workers) => Workers;
}

/** A checkpointer as a process of its own would have it, for one set called `job`. */
export function testCheckpointer(
  store: BlobStore,
  path: string,
  options: TestCheckpointerOptions = {},
): Checkpointer {
  const { vmName = 'vm-1', bootId = 'boot', clock = laterClock, indexDirectory, onNote } = options;
  const workers = createLocalWorkers({ store, clock });
  return createCheckpointer(
    {
      prefix: PLACE.prefix,
      key: PLACE.key,
      sets: [{ name: PLACE.set, path, include: ['**'], exclude: [], priority: 50, ...options.set }],
      writer: { vmName, vmId: `id-of-${vmName}`, bootId },
      ...(indexDirectory !== undefined && { indexDirectory }),
    },
    {
      store,
      workers: options.workers?.(workers) ?? workers,
      clock,
      ...(onNote !== undefined && { onNote }),
    },
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
  return restoreSet(
    // Nothing here cuts the power: waiting for the disk would only take time.
    { place: PLACE, target, durable: false, ...(at !== undefined && { at }) },
    { store, workers: createLocalWorkers({ store, clock: laterClock }), clock: laterClock },
    never(),
  );
}

export function never(): AbortSignal {
  return new AbortController().signal;
}
