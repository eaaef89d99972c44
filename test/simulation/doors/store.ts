/** In place of `src/daemon/wire-store.ts`: a container in the simulated world. */
import type { AzureBlobStore } from '../../../src/checkpoint/azure-store.ts';
import { runningProcess } from '../guest.ts';

export async function openStore(): Promise<AzureBlobStore> {
  const process = runningProcess();
  const store = process.doors.store(process);
  const target = {
    account: 'world',
    container: 'world',
    containerUrl: 'memory:',
    prefix: 'p',
    pathStyle: true,
  };
  return {
    ...store,
    target,
    folders: () => {
      throw new Error('no part of the daemon looks at folders');
    },
    start: () => undefined,
    stop: () => undefined,
    keepWarm: async (signal) => void (await store.head('evictd-probe', signal)),
    ensureContainer: async (signal) => void (await store.head('evictd-probe', signal)),
    tokenError: () => undefined,
  };
}

export async function openQueueCredential(): Promise<never> {
  throw new Error('no simulated life has a queue');
}
