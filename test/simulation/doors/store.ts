/** In place of `src/daemon/wire-store.ts`: a container in the simulated world. */
import type { OpenStore } from '../../../src/daemon/wire-store.ts';
import { runningProcess } from '../guest.ts';
import { simulatedWorkers } from '../sim-workers.ts';

export async function openStore(): Promise<OpenStore> {
  const process = runningProcess();
  const workers = simulatedWorkers(process);
  const target = {
    account: 'world',
    container: 'world',
    containerUrl: 'memory:',
    prefix: 'p',
    pathStyle: true,
  };
  return {
    target,
    workers,
    store: workers.store,
    start: () => undefined,
    tokenError: () => undefined,
    close: () => workers.close(),
  };
}

export async function openQueueCredential(): Promise<never> {
  throw new Error('no simulated life has a queue');
}
