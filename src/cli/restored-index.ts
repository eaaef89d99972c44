import type { Clock } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
import { trustedSince } from '../checkpoint/commit/look/trust.ts';
import type { Manifest } from '../checkpoint/format/manifest.ts';
import { setPrefix } from '../checkpoint/format/names.ts';
import { indexFileName, openLocalIndex } from '../checkpoint/index/local-index.ts';
import type { FileRecord } from '../checkpoint/index/record.ts';
import type { RestoredFile } from '../checkpoint/restore/restore-set.ts';
import { readBootId } from '../journal/journal.ts';
import { lockState } from '../journal/state-lock.ts';
import type { StoredPlace } from './stored-place.ts';

/** What a restore knows of the files that it leaves in a set's own folder: the daemon needn't read them all again. */
export interface RestoredIndex {
  add(this: void, path: string, file: RestoredFile): void;
  /**
   * Once all is restored and on disk. Where the daemon runs it knows by itself, and what can't be written costs no more
   * than the reading: then nothing is done.
   */
  write(manifest: Manifest, signal: AbortSignal): Promise<void>;
}

export function createRestoredIndex(
  set: string,
  { store, prefix, key, config, checkpoint }: StoredPlace,
  clock: Clock,
): RestoredIndex {
  const files = new Map<string, FileRecord>();
  return {
    add(path, { stat, chunks, how }) {
      const now = clock.monotonicMs();
      // One that was there may be mapped by a program, and then be written to without a trace.
      const since = how === 'fetched' ? trustedSince(now) : { seenAt: now, readAt: now };
      files.set(path, { stat, chunks, ...since, isVersion: true });
    },
    async write({ hash, cut }, signal) {
      const root = checkpoint.sets.find(({ name }) => name === set)?.path;
      if (root === undefined) return;
      try {
        await using _lock = await lockState(config.state.dir, signal);
        const index = await openLocalIndex(
          {
            file: indexFileName(config.state.dir, set),
            store: `${store.describe} ${setPrefix({ prefix, key, set })}`,
            root,
            bootId: await readBootId(),
            hash: hash.name,
            cut,
          },
          () => undefined,
        );
        index.restart(null, { hash, cut }, files);
        await index.save();
        await index.close();
      } catch (error) {
        if (!(error instanceof EvictdError)) throw error;
      }
    },
  };
}
