import type { Clock } from '../../src/base/clock.ts';
import { compareFile } from '../../src/checkpoint/pack/compare-file.ts';
import { fetchChunks } from '../../src/checkpoint/pack/fetch-chunks.ts';
import { createPackSender } from '../../src/checkpoint/pack/send-packs.ts';
import type { Sender } from '../../src/checkpoint/pack/sender.ts';
import { listFolders, lookAt } from '../../src/checkpoint/scan/scan-thread.ts';
import type { BlobStore } from '../../src/checkpoint/store/store.ts';
import type { Workers } from '../../src/checkpoint/worker/workers.ts';

export interface LocalWorkersDependencies {
  readonly store: BlobStore;
  readonly clock: Clock;
  /** Senders at once, as over so many threads; default 2. */
  readonly count?: number;
}

/** The same work in this very thread, over any store. It holds the event loop while it reads. */
export function createLocalWorkers({ store, clock, count = 2 }: LocalWorkersDependencies): Workers {
  const senders = new Set<Sender>();
  return {
    store,
    count,
    list: async (job) => listFolders(job),
    look: async (job) => lookAt(job),
    fetch: (order, signal) => fetchChunks(order, store, signal),
    compare: compareFile,
    async openSender(_thread, options, onPack) {
      const sender = createPackSender(options, { store, clock, onPack });
      senders.add(sender);
      return {
        ...sender,
        async close() {
          senders.delete(sender);
          await sender.close();
        },
      };
    },
    start: () => undefined,
    rest: () => undefined,
    close: async () => void (await Promise.all([...senders].map((sender) => sender.close()))),
  };
}
