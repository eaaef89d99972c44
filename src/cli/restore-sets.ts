import { sleep } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
import type { RestoreProgress, RestoreResult } from '../checkpoint/restore/restore-set.ts';
import { backoffMs } from '../core/backoff.ts';
import type { Invocation } from './command.ts';
import { canShowBar, createProgressBar } from './progress-bar.ts';
import { openStoredPlace, type StoredPlace } from './stored-place.ts';

/** What became of one set; the JSON of `evictd restore` is a list of these. */
export type SetOutcome = { readonly set: string; readonly target: string } & Outcome;

type Outcome =
  | ({ readonly outcome: 'restored' } & RestoreResult)
  | { readonly outcome: 'already-restored'; readonly id: string; readonly restoredAt: string }
  | { readonly outcome: 'newer-on-disk'; readonly id: string; readonly path: string }
  | { readonly outcome: 'nothing-found'; readonly message: string }
  | { readonly outcome: 'failed'; readonly code: string; readonly message: string };

export interface WantedSet {
  readonly set: string;
  readonly target: string;
  /** Into the set's own folder, which gets marked. */
  readonly inPlace: boolean;
  /** Also where that was done before, and over what is newer. */
  readonly force: boolean;
}

export interface Wanted {
  readonly sets: readonly WantedSet[];
  /** Where it is noted what earlier boots have saved as they ended. */
  readonly stateDir: string;
  readonly key: string | undefined;
  readonly at: string | undefined;
  /** The newest checkpoint that lacks nothing, in place of the newest one. */
  readonly whole: boolean;
  /** Only what these patterns name; undefined: all. */
  readonly path: readonly string[] | undefined;
  /** How long to go on trying when the store can't be used. */
  readonly waitMs: number;
}

/**
 * Restores the sets one after the other. One that fails doesn't keep the others from coming back; its error goes to
 * `onFailure`. The store is opened only when something is left to do.
 * Rejects with why the store can't be opened, or with the signal's reason.
 */
export async function restoreSets(
  wanted: Wanted,
  invocation: Invocation,
  clock: Clock,
  onFailure: (error: EvictdError) => void,
): Promise<readonly SetOutcome[]> {
  const { readMachine } = await import('../checkpoint/restore/target/markers.ts');
  const { restoredBefore } = await import('../checkpoint/restore/restore-in-place.ts');
  const { readGoodbyes } = await import('../daemon/goodbye.ts');
  const { readBootId } = await import('../journal/journal.ts');
  const machine = await readMachine();
  const goodbyes = await readGoodbyes(wanted.stateDir, await readBootId());
  const outcomes: SetOutcome[] = [];
  const left: WantedSet[] = [];
  for (const one of wanted.sets) {
    const { set, target } = one;
    const filter = {
      set,
      ...(wanted.key !== undefined && { key: wanted.key }),
      ...(wanted.at !== undefined && { id: wanted.at }),
      since: goodbyes === 'unknown' ? undefined : goodbyes.get(set),
    };
    const isAll = wanted.path === undefined;
    const mayBeDone = one.inPlace && !one.force && isAll && goodbyes !== 'unknown';
    const marker = mayBeDone ? restoredBefore(target, filter, machine) : undefined;
    if (marker === undefined) left.push(one);
    else {
      const { id, restoredAt } = marker;
      outcomes.push({ set, target, outcome: 'already-restored', id, restoredAt });
    }
  }
  if (left.length === 0) return outcomes;
  const open = () => openStoredPlace(invocation, clock);
  await using place = await patiently(open, wanted.waitMs, invocation, clock);
  for (const one of left) {
    const { set, target } = one;
    try {
      const run = () => restoreOne(one, { wanted, place, machine, invocation, clock });
      outcomes.push({ set, target, ...(await patiently(run, wanted.waitMs, invocation, clock)) });
    } catch (error) {
      if (!(error instanceof EvictdError) || invocation.signal.aborted) throw error;
      const { code, message } = error;
      if (code === 'nothing-found') outcomes.push({ set, target, outcome: code, message });
      else outcomes.push({ set, target, outcome: 'failed', code, message });
      onFailure(error);
    }
  }
  return outcomes;
}

interface Surroundings {
  readonly wanted: Wanted;
  readonly place: StoredPlace;
  readonly machine: string | undefined;
  readonly invocation: Invocation;
  readonly clock: Clock;
}

async function restoreOne(
  { set, target, inPlace, force }: WantedSet,
  { wanted, place, machine, invocation, clock }: Surroundings,
): Promise<Outcome> {
  const { restoreSet } = await import('../checkpoint/restore/restore-set.ts');
  const { restoreInPlace } = await import('../checkpoint/restore/restore-in-place.ts');
  const { signal, err } = invocation;
  const { store, workers, prefix, key } = place;
  using bar = canShowBar(invocation) ? createProgressBar(set, err, clock) : undefined;
  const onProgress = (progress: RestoreProgress) => bar?.show(progress);
  const { at, whole, path } = wanted;
  const options = {
    place: { prefix, key, set },
    target,
    whole,
    ...(at !== undefined && { at }),
    ...(path !== undefined && { path }),
  };
  const onNote = ({ message, remedy }: EvictdError) =>
    err.write(`evictd: ${message}${remedy === undefined ? '' : `; ${remedy}`}\n`);
  const dependencies = { store, workers, clock, onProgress, onNote };
  // A part of a set is no complete folder, and a folder elsewhere is nobody's: neither is marked, nor waits for the disk.
  if (!inPlace || path !== undefined) {
    const result = await restoreSet({ ...options, durable: inPlace }, dependencies, signal);
    return { outcome: 'restored', ...result };
  }
  const { createRestoredIndex } = await import('./restored-index.ts');
  // Of the line of another VM nothing is known to ours.
  const index = wanted.key === undefined ? createRestoredIndex(set, place, clock) : undefined;
  const restored = await restoreInPlace(
    { ...options, force, machine },
    { ...dependencies, ...(index !== undefined && { onRestored: index.add }) },
    signal,
  );
  if (restored.kind !== 'restored') return { outcome: restored.kind, id: restored.id, path: restored.path };
  await index?.write(restored.manifest, signal);
  return { outcome: 'restored', ...restored.result };
}

/** What goes away by itself on a machine that is just starting; a role may take minutes to work. */
const PASSING = new Set([
  'network',
  'unavailable',
  'throttled',
  'timeout',
  'no-token',
  'forbidden',
  'bad-answer',
]);
const AGAIN_MS_FIRST = 1000;
const AGAIN_MS_MAX = 30_000;

async function patiently<T>(
  run: () => Promise<T>,
  waitMs: number,
  { err, signal }: Invocation,
  clock: Clock,
): Promise<T> {
  const until = clock.monotonicMs() + waitMs;
  for (let attempt = 1; ; attempt++) {
    try {
      return await run();
    } catch (error) {
      if (!(error instanceof EvictdError) || !PASSING.has(error.code)) throw error;
      const delayMs = Math.min(backoffMs(attempt, AGAIN_MS_FIRST, AGAIN_MS_MAX), until - clock.monotonicMs());
      if (delayMs <= 0) throw error;
      err.write(`evictd: ${error.message}; trying again\n`);
      await sleep(clock, delayMs, signal);
    }
  }
}
