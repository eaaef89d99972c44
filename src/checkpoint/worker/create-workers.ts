import { availableParallelism } from 'node:os';

import type { Clock } from '../../base/clock.ts';
import { EvictdError, messageOf } from '../../base/errors.ts';
import { listSmall, lookSmall } from '../scan/scan-small.ts';
import type { AzureStoreOptions } from '../store/azure/azure-store.ts';
import { parseStoreUrl } from '../store/azure/url.ts';
import type { StoreTokens } from '../store/azure/caller.ts';
import type { StoreCall } from './engine-calls.ts';
import { startEngineThread } from './engine-worker.ts';
import type { EngineThread } from './engine-worker.ts';
import { createRemoteStore } from './remote-store.ts';
import type { Workers } from './workers.ts';

export type WorkersOptions = AzureStoreOptions;

export interface WorkersDependencies {
  readonly clock: Clock;
  /** For a managed identity. Threads ask for its tokens. */
  readonly tokens?: StoreTokens | undefined;
}

/** More are faster than any VM's network. */
const THREADS_MAX = 2;
/** With those that are stuck. */
const THREADS_ALL_MAX = 6;
/** A thread that hangs in the kernel doesn't even end. */
const END_MS_MAX = 2000;
/** The number of a file that was closed would soon be another file's. */
const TO_THE_END = { toTheEnd: true };

/*
 * INVARIANTS
 * - There are at most `count` threads that new work is given to, started when there is work. A sender stays on its thread.
 * - A thread that is stuck keeps what it has and gets nothing more: another takes its place, as long as not too many are.
 * - To look at a few files no thread is started.
 */

/** Workers that are threads. Throws `bad-store-url`. */
export function createWorkers(options: WorkersOptions, { clock, tokens }: WorkersDependencies): Workers {
  const { account, container } = parseStoreUrl(options.url);
  const count = Math.min(THREADS_MAX, availableParallelism());
  const threads = createThreads(count, (onEnd) => startEngineThread(options, { clock, tokens, onEnd }));
  const store = createRemoteStore(`container ${container} of account ${account}`, (call, signal) =>
    threads.running().peer.call('store', withOwnMemory(call), signal),
  );
  return {
    store,
    count,
    async list(job, signal) {
      const found = threads.areNone ? await listSmall(job) : undefined;
      return found ?? (await threads.free().peer.call('list', job, signal));
    },
    async look(job, signal) {
      const found = threads.areNone ? await lookSmall(job) : undefined;
      return found ?? (await threads.free().peer.call('look', job, signal));
    },
    openSender: async (thread, senderOptions, onPack) =>
      await threads.at(thread % count).openSender(senderOptions, onPack),
    fetch: async (order, signal) => await threads.free().peer.call('fetch', order, signal, TO_THE_END),
    compare: async (order, signal) => await threads.free().peer.call('compare', order, signal, TO_THE_END),
    start() {
      for (let number = 0; number < count; number++) prepare(threads, number);
    },
    rest: () => threads.endIdle(),
    async close() {
      const late = Promise.withResolvers<void>();
      using _limit = clock.timer(END_MS_MAX, () => late.resolve());
      await Promise.race([threads.endAll(), late.promise]);
    },
  };
}

/** Whatever is wrong shows again when it is used. */
function prepare(threads: Threads, number: number): void {
  try {
    threads
      .at(number)
      .peer.call('prepare', undefined)
      .catch(() => undefined);
  } catch {
    // There can't be another thread now.
  }
}

/** Of a part of larger memory all of that would be copied to the thread. */
function withOwnMemory(call: StoreCall): StoreCall {
  if (call.name !== 'create' && call.name !== 'replace') return call;
  const [name, body, options] = call.takes;
  return { name: call.name, takes: [name, new Uint8Array(body), options] };
}

interface Threads {
  readonly areNone: boolean;
  at(number: number): EngineThread;
  /** One with little to do: started where all others have work. */
  free(): EngineThread;
  /** One with little to do: started where there is none. */
  running(): EngineThread;
  endIdle(): void;
  endAll(): Promise<void>;
}

function createThreads(count: number, startThread: (onEnd: () => void) => EngineThread): Threads {
  const all = new Set<EngineThread>();
  const places: (EngineThread | undefined)[] = Array.from({ length: count }, () => undefined);
  const start = (place: number): EngineThread => {
    try {
      const thread = startThread(() => {
        all.delete(thread);
        if (places[place] === thread) places[place] = undefined;
      });
      all.add(thread);
      places[place] = thread;
      return thread;
    } catch (error) {
      throw new EvictdError('worker-failed', `no thread could be started: ${messageOf(error)}`, {
        remedy: 'look at the limits of threads and memory (systemctl show evictd -p TasksMax -p MemoryMax)',
        cause: error,
      });
    }
  };
  const isUsable = (thread: EngineThread | undefined): thread is EngineThread =>
    thread !== undefined && (!thread.isStuck || all.size >= THREADS_ALL_MAX);
  const at = (place: number): EngineThread => {
    const thread = places[place];
    return isUsable(thread) ? thread : start(place);
  };
  const leastBusy = (): EngineThread | undefined =>
    places.filter(isUsable).sort((one, other) => one.peer.waiting - other.peer.waiting)[0];
  return {
    get areNone() {
      return all.size === 0;
    },
    at,
    free() {
      const thread = leastBusy();
      if (thread?.peer.waiting === 0) return thread;
      const place = places.findIndex((one) => !isUsable(one));
      return thread === undefined || place !== -1 ? start(Math.max(place, 0)) : thread;
    },
    running: () => leastBusy() ?? start(0),
    endIdle() {
      for (const thread of all) if (thread.isIdle) void thread.end();
    },
    endAll: async () => void (await Promise.all([...all].map((thread) => thread.end()))),
  };
}
