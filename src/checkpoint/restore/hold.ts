import { boundedSignal } from '../../base/abort.ts';
import type { Clock } from '../../base/clock.ts';
import { EvictdError } from '../../base/errors.ts';
import { newHoldName, RESTORE_HOLD_MS_MAX } from '../format/names.ts';
import type { SetPlace } from '../format/names.ts';
import type { BlobStore } from '../store/store.ts';

/** For people who see the store. */
const BY = 'evictd restore';
/** It is only for the case that somebody prunes meanwhile, so nobody waits for it for long. */
const WAIT_MS_MAX = 10_000;

/**
 * Keeps others from pruning a checkpoint while it is restored, until it is disposed. Whoever may only read the store
 * restores without. Rejects with the signal's reason only.
 */
export async function holdCheckpoint(
  place: SetPlace,
  id: string,
  { store, clock }: { readonly store: BlobStore; readonly clock: Clock },
  signal: AbortSignal,
): Promise<AsyncDisposable> {
  const name = newHoldName(place, id);
  const until = new Date(clock.wallMs() + RESTORE_HOLD_MS_MAX).toISOString();
  const body = Buffer.from(
    `${JSON.stringify({ version: 1, kind: 'restore', checkpoint: id, until, by: BY })}\n`,
  );
  const isHeld = await attempt(
    (bounded) => store.create(name, body, { contentType: 'application/json' }, bounded),
    clock,
    signal,
  );
  signal.throwIfAborted();
  return {
    async [Symbol.asyncDispose]() {
      // Not under the signal of the restore, which may have been aborted just now.
      if (isHeld) await attempt((bounded) => store.remove(name, bounded), clock);
    },
  };
}

async function attempt(
  work: (signal: AbortSignal) => Promise<unknown>,
  clock: Clock,
  signal?: AbortSignal,
): Promise<boolean> {
  using bounded = boundedSignal(clock, WAIT_MS_MAX, signal);
  try {
    await work(bounded.signal);
    return true;
  } catch (error) {
    if (!(error instanceof EvictdError)) throw error;
    return false;
  }
}
