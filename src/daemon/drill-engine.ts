import { cp, readdir } from 'node:fs/promises';
import { join } from 'node:path';

import { boundedSignal } from '../base/abort.ts';
import { isErrno, messageOf } from '../base/errors.ts';
import { createRehearsalStore, rehearsalPrefix } from '../checkpoint/commit/rehearsal-store.ts';
import { cleanUpDrill } from '../checkpoint/retention/drill.ts';
import type { BlobStore } from '../checkpoint/store/store.ts';
import type { DrillDependencies } from './drill-dependencies.ts';
import { type CheckpointSources, type OpenEngine, openCheckpoints } from './wire-checkpoints.ts';

/** The engine on the real place, which reads there and writes elsewhere. */
export interface DrillEngine extends OpenEngine {
  /** What the engine has in place of `store`. */
  readonly drillStore: BlobStore;
  /** Closes it and removes what it has written, on a bound of its own; answers what is left behind and why, in words. */
  cleanUp(isHurried: boolean): Promise<string | undefined>;
}

/** Reading all files of a large set for the first time; a daemon has done that long before a notice. */
const PREPARE_MS = 30 * 60_000;
const CLEAN_UP_MS = 60_000;
/** The store belongs to the real drain now. */
const CLEAN_UP_HURRIED_MS = 3000;

/**
 * Opens it with a copy of the daemon's memory of the files, and does what a daemon has done long before a notice comes.
 * What an earlier drill left in the store is removed first. Rejects as `openCheckpoints` does.
 */
export async function openDrillEngine(
  sources: CheckpointSources & { readonly indexDirectory: string },
  { clock, onProgress }: DrillDependencies,
  signal: AbortSignal,
): Promise<DrillEngine> {
  await copyIndexes(sources.config.state.dir, sources.indexDirectory);
  let drillStore: BlobStore | undefined;
  const over = (store: BlobStore, place: OpenEngine['place']) => ({
    store: (drillStore = createRehearsalStore(place, { store })),
    packPrefix: (set: string) => `${rehearsalPrefix(place)}sets/${set}/packs/`,
  });
  const opened = await openCheckpoints({ ...sources, over }, { clock, onNote: () => undefined }, signal);
  const engine: DrillEngine = {
    ...opened,
    drillStore: drillStore ?? createRehearsalStore(opened.place, opened),
    async cleanUp(isHurried) {
      using bound = boundedSignal(clock, isHurried ? CLEAN_UP_HURRIED_MS : CLEAN_UP_MS);
      try {
        await cleanUpDrill(opened.place, opened, bound.signal);
        return undefined;
      } catch (error) {
        return `what the drill stored could not be removed: ${messageOf(error)}; the next drill removes it`;
      } finally {
        await opened.close();
      }
    },
  };
  try {
    const removed = await cleanUpDrill(opened.place, opened, signal);
    if (removed > 0) onProgress(`removed ${removed} blobs that an earlier drill had left behind`);
    onProgress('looking at the files, which a daemon has done long before a notice');
    using bound = boundedSignal(clock, PREPARE_MS, signal);
    for (const { name } of sources.checkpoint.sets) await opened.port.prepare(name, bound.signal);
    return engine;
  } catch (error) {
    await opened.close();
    throw error;
  }
}

/** A copy of what the daemon remembers of the files, so that its own stays as it is. */
export async function copyIndexes(stateDir: string, folder: string): Promise<void> {
  const names = await readdir(stateDir).catch((error: unknown) => {
    if (isErrno(error, 'ENOENT')) return [];
    throw error;
  });
  for (const name of names) {
    if (name.endsWith('.index.jsonl')) await cp(join(stateDir, name), join(folder, name));
  }
}
