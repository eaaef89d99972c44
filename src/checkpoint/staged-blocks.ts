import type { Clock, MonotonicMs } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
import type { BlobStore } from './store.ts';

/** What is staged and not committed yet, as far as this process knows: by blob. */
export interface StagedBlocks {
  /** The store that was given, watched: use it for everything that goes to these blobs. */
  readonly store: BlobStore;
  /** Uncommitted blocks of the blob. */
  count(name: string): number;
  has(name: string, id: string): boolean;
  /** They would be dropped by the service before long. */
  isExpiring(name: string): boolean;
}

/**
 * The service drops a blob's uncommitted blocks a week after the last block was put; one more block keeps them all.
 * Source: learn.microsoft.com/rest/api/storageservices/put-block.
 */
const KEPT_MS = 5 * 24 * 3_600_000;

interface Staged {
  readonly ids: Set<string>;
  /** Undefined: left by an earlier process, who knows when. */
  putAt: MonotonicMs | undefined;
}

export function watchStagedBlocks(store: BlobStore, { clock }: { readonly clock: Clock }): StagedBlocks {
  const blobs = new Map<string, Staged>();
  const together = store.putTogether?.bind(store);
  return {
    count: (name) => blobs.get(name)?.ids.size ?? 0,
    has: (name, id) => blobs.get(name)?.ids.has(id) ?? false,
    isExpiring(name) {
      const staged = blobs.get(name);
      if (staged === undefined || staged.ids.size === 0) return false;
      return staged.putAt === undefined || clock.monotonicMs() - staged.putAt > KEPT_MS;
    },
    store: {
      describe: store.describe,
      ...(store.zstd !== undefined && { zstd: store.zstd }),
      list: (prefix, signal, options) => store.list(prefix, signal, options),
      read: (name, options, signal) => store.read(name, options, signal),
      download: (name, options, signal) => store.download(name, options, signal),
      head: (name, signal) => store.head(name, signal),
      snapshot: (name, etag, signal) => store.snapshot(name, etag, signal),
      async blocks(name, signal) {
        const list = await store.blocks(name, signal);
        const ids = new Set(list?.uncommitted.map(({ id }) => id));
        const putAt = blobs.get(name)?.putAt;
        if (ids.size > 0) blobs.set(name, { ids, putAt });
        else blobs.delete(name);
        return list;
      },
      async stageBlock(name, id, body, signal) {
        await store.stageBlock(name, id, body, signal);
        const staged = blobs.get(name) ?? { ids: new Set(), putAt: undefined };
        staged.ids.add(id);
        staged.putAt = clock.monotonicMs();
        blobs.set(name, staged);
      },
      // Any commit discards what it doesn't name.
      async commitBlocks(name, ids, write, signal) {
        const written = await store.commitBlocks(name, ids, write, signal);
        blobs.delete(name);
        return written;
      },
      ...(together !== undefined && {
        async putTogether(writes, common, signal) {
          const answers = await together(writes, common, signal);
          for (const [index, answer] of answers.entries()) {
            const name = writes[index]?.name;
            if (name !== undefined && !(answer instanceof EvictdError)) blobs.delete(name);
          }
          return answers;
        },
      }),
      async put(name, body, write, signal) {
        const written = await store.put(name, body, write, signal);
        blobs.delete(name);
        return written;
      },
      async remove(name, options, signal) {
        await store.remove(name, options, signal);
        if (options.snapshot === undefined) blobs.delete(name);
      },
    },
  };
}
