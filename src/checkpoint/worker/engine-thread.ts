/**
 * The entry of an engine thread. It may read and hash without the pauses that the main thread makes, and ends when it is
 * terminated. The SDK is loaded when the store is used for the first time: looking at files does without.
 */
import { flushCompileCache } from 'node:module';
import { parentPort, workerData } from 'node:worker_threads';

import { assert } from '../../base/assert.ts';
import { systemClock } from '../../base/clock.ts';
import { hideExperimentalWarnings } from '../../base/warnings.ts';
import type { BlobStore } from '../store/store.ts';
import { createEngine } from './engine.ts';
import type { EngineCalls, MainCalls } from './engine-calls.ts';
import type { EngineThreadData } from './engine-worker.ts';
import { createPeer } from './peer.ts';
import type { Peer } from './peer.ts';
import { callStore, createRemoteStore } from './remote-store.ts';

hideExperimentalWarnings();
assert(parentPort !== null, 'this file is for a thread of its own');
// Given by startEngineThread in engine-worker.ts.
const { store, hasTokens, taken } = workerData as EngineThreadData;
const counter = new Int32Array(taken);
parentPort.on('message', () => void Atomics.add(counter, 0, 1));

const open = onceOpened(async () => {
  const { createAzureStore } = await import('../store/azure/azure-store.ts');
  let newest: string | undefined;
  const tokens = {
    // Each try of a request asks the main thread, which renews them, so that none grows old here.
    current: () => newest,
    token: async (signal: AbortSignal) => (newest = await main.call('token', undefined, signal)),
    renew: (stale: string, signal: AbortSignal) => main.call('renew', stale, signal),
  };
  return await createAzureStore(store, { clock: systemClock, ...(hasTokens && { tokens }) });
});
const main: Peer<MainCalls> = createPeer<EngineCalls, MainCalls>(
  parentPort,
  createEngine({
    store: createRemoteStore('', async (call, signal) => callStore(await open(), call, signal)),
    clock: systemClock,
    prepare: async () => void (await open()),
    leave() {
      // Does nothing where none is kept, or all of it is there.
      flushCompileCache();
      process.exit();
    },
    onPack: (sender, event) => main.tell('pack', { sender, event }),
  }),
);

/** What could not be opened is tried again by the next one who asks. */
function onceOpened(openStore: () => Promise<BlobStore>): () => Promise<BlobStore> {
  let opening: Promise<BlobStore> | undefined;
  const tryOpening = async () => {
    try {
      return await openStore();
    } catch (error) {
      opening = undefined;
      throw error;
    }
  };
  return () => (opening ??= tryOpening());
}
