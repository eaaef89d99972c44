import { chmod } from 'node:fs/promises';

import { systemClock } from '../../../src/base/clock.ts';
import { restoreInPlace } from '../../../src/checkpoint/restore/restore-in-place.ts';
import type { InPlaceOptions } from '../../../src/checkpoint/restore/restore-in-place.ts';
import { restoreSet } from '../../../src/checkpoint/restore/restore-set.ts';
import type { RestoreDependencies, RestoreOptions } from '../../../src/checkpoint/restore/restore-set.ts';
import type { BlobStore } from '../../../src/checkpoint/store/store.ts';
import { createLocalWorkers } from '../../support/local-workers.ts';
import { readTree, testFolder, writeTree } from '../../support/file-tree.ts';
import type { TestFolder } from '../../support/file-tree.ts';
import { makeCheckpoint, PLACE } from '../../support/make-checkpoint.ts';
import type { Made, MakeOptions } from '../../support/make-checkpoint.ts';
import { createMemoryBlobs } from '../../support/memory-blobs.ts';
import type { MemoryBlobs } from '../../support/memory-blobs.ts';

export const MIB = 1024 ** 2;

export function never(): AbortSignal {
  return new AbortController().signal;
}

type Some<T> = Partial<Omit<T, 'place' | 'target'>>;

export function restoreJob(
  store: BlobStore,
  target: string,
  options: Some<RestoreOptions> = {},
  dependencies: Partial<RestoreDependencies> = {},
  signal = never(),
) {
  const workers = createLocalWorkers({ store, clock: systemClock });
  return restoreSet(
    // Nothing here cuts the power: waiting for the disk would only take time.
    { place: PLACE, target, durable: false, ...options },
    { store, workers, clock: systemClock, ...dependencies },
    signal,
  );
}

export function inPlace(
  store: BlobStore,
  target: string,
  options: Some<InPlaceOptions> = {},
  dependencies: Partial<RestoreDependencies> = {},
) {
  const workers = createLocalWorkers({ store, clock: systemClock });
  return restoreInPlace(
    { place: PLACE, target, force: false, machine: 'this machine', ...options },
    { store, workers, clock: systemClock, ...dependencies },
    never(),
  );
}

/** A folder with a checkpoint of it. */
export interface Saved extends AsyncDisposable {
  readonly from: TestFolder;
  readonly blobs: MemoryBlobs;
  readonly made: Made;
}

export async function saved(
  tree: Parameters<typeof writeTree>[1],
  options: MakeOptions = {},
): Promise<Saved> {
  const from = await testFolder();
  await writeTree(from.path, tree);
  const blobs = createMemoryBlobs();
  const made = await makeCheckpoint(blobs, from.path, options);
  return { from, blobs, made, [Symbol.asyncDispose]: () => from[Symbol.asyncDispose]() };
}

/** The codes of what was told while it went on. */
export function notes() {
  const codes: string[] = [];
  return { codes, onNote: ({ code }: { readonly code: string }) => void codes.push(code) };
}

/** Long before now, epoch s. */
export const OLD = 1_700_000_000;
/** A checkpoint made so long before or after now. */
export const at = (differenceS: number) => ({
  createdAt: new Date(Date.now() + differenceS * 1000).toISOString(),
});

/** A checkpoint that was made an hour ago, so that whatever is made now is a new disk. */
export async function savedJob() {
  const there = await saved({
    a: { kind: 'file', content: 'saved', mtimeS: OLD },
    'dir/b': { kind: 'file', content: 'b', mtimeS: OLD },
  });
  await chmod(there.from.path, 0o750);
  const blobs = createMemoryBlobs();
  const made = await makeCheckpoint(blobs, there.from.path, { manifest: at(-3600) });
  return {
    ...there,
    blobs,
    made,
    tree: await readTree(there.from.path),
    [Symbol.asyncDispose]: there[Symbol.asyncDispose],
  };
}

/** The tree without what evictd says of it. */
export async function treeOf(folder: string) {
  const { '.evictd-restored': mark, ...tree } = await readTree(folder);
  return { tree, isMarked: mark !== undefined };
}
