import { boundedSignal } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
import { createCheckpointer } from '../checkpoint/checkpointer.ts';
import type { AzureBlobStore } from '../checkpoint/azure-store.ts';
import type { BlobStore } from '../checkpoint/store.ts';
import type { Checkpoint, Config } from '../config/schema.ts';
import type { Instance } from '../imds/instance.ts';
import type { Log } from '../observe/log.ts';
import { type CheckpointHost, type OpenCheckpoints, startCheckpointHost } from './checkpoint-host.ts';
import { createDryCheckpoints } from './dry-run.ts';
import type { Identity } from './identity.ts';
import { expandKey } from './key.ts';
import { openStore } from './wire-store.ts';

/** Where this VM's checkpoints are: `PREFIX/KEY`. */
export interface Place {
  readonly prefix: string;
  readonly key: string;
}

/** Below the idle limit of the service's front end and of most NATs (4 minutes on Azure). */
const WARM_EVERY_MS = 60_000;
const WARM_MS = 10_000;

export interface CheckpointSources {
  readonly config: Config;
  readonly checkpoint: Checkpoint;
  readonly bootId: string;
  /** Waits for the instance document where the key or the manifest needs it. */
  readonly instance: (signal: AbortSignal) => Promise<Instance>;
}

/** The config's checkpoint section at work; undefined without one. */
export function wireCheckpoints(
  config: Config,
  dryRun: boolean,
  bootId: string,
  identity: Pick<Identity, 'instance'>,
  { clock, log }: { readonly clock: Clock; readonly log: Log },
): CheckpointHost | undefined {
  const { checkpoint } = config;
  if (checkpoint === undefined) return undefined;
  if (dryRun) return createDryCheckpoints(checkpoint.sets, log);
  const sources = {
    config,
    checkpoint,
    bootId,
    instance: (signal: AbortSignal) => identity.instance(signal),
  };
  return startCheckpointHost(
    { sets: checkpoint.sets.map(({ name }) => name) },
    {
      clock,
      open: (signal) =>
        openCheckpoints(
          sources,
          {
            clock,
            onNote: (set, { code, message, remedy }) =>
              log.warn('checkpoint with a reservation, continuing', { set, code, detail: message, remedy }),
          },
          signal,
        ),
      onProblem: ({ code, message, remedy }) =>
        log.error('checkpoints can not be stored, trying again', { code, detail: message, remedy }),
      onReady: () => log.info('checkpoint store is ready', { url: checkpoint.store.url }),
    },
  );
}

/** Opens store and engine. Rejects with the EvictdErrors of the store, and those of a key that can't be made. */
export async function openCheckpoints(
  sources: CheckpointSources,
  { clock, onNote }: { readonly clock: Clock; readonly onNote: (set: string, error: EvictdError) => void },
  signal: AbortSignal,
): Promise<OpenCheckpoints> {
  const { config, checkpoint, bootId } = sources;
  const store = await openStore(config, checkpoint, { clock });
  try {
    store.start();
    const instance = await sources.instance(signal);
    const key = expandKey(checkpoint.key, instance);
    await store.ensureContainer(signal);
    const { prefix } = store.target;
    const port = createCheckpointer(
      {
        prefix,
        key,
        sets: checkpoint.sets,
        writer: { vmName: instance.name, vmId: instance.vmId, bootId },
        indexDirectory: config.state.dir,
      },
      { store, clock, onNote },
    );
    const warmth = keepWarm(store, clock);
    return {
      port,
      writeReport: (eventId, body, bound) => writeReport(store, { prefix, key }, eventId, body, bound),
      async close() {
        warmth[Symbol.dispose]();
        await port.close();
        store.stop();
      },
    };
  } catch (error) {
    store.stop();
    throw error;
  }
}

/** A first request after a long pause would have to look up the name and shake hands, inside the window. */
function keepWarm(store: AzureBlobStore, clock: Clock): Disposable {
  let timer = clock.timer(WARM_EVERY_MS, warm);
  function warm(): void {
    timer = clock.timer(WARM_EVERY_MS, warm);
    const bound = boundedSignal(clock, WARM_MS);
    // Its failure says nothing that the next real request won't say with more weight.
    store
      .keepWarm(bound.signal)
      .catch(() => undefined)
      .finally(() => bound[Symbol.dispose]());
  }
  return { [Symbol.dispose]: () => timer[Symbol.dispose]() };
}

/** `PREFIX/KEY/reports/EVENT-ID.json`; the newest of an event stands. */
async function writeReport(
  store: BlobStore,
  { prefix, key }: Place,
  eventId: string,
  body: Uint8Array,
  signal: AbortSignal,
): Promise<void> {
  const parts = [...(prefix === '' ? [] : [prefix]), key, 'reports', `${safeName(eventId)}.json`];
  const name = parts.join('/');
  const write = { metadata: {}, contentType: 'application/json' };
  try {
    await store.put(name, body, { ...write, condition: { ifNone: true } }, signal);
  } catch (error) {
    if (!(error instanceof EvictdError && error.code === 'conflict')) throw error;
    const head = await store.head(name, signal);
    if (head === undefined) throw error;
    await store.put(name, body, { ...write, condition: { ifEtag: head.etag } }, signal);
  }
}

/** Event ids are GUIDs; what claims to be one and isn't must not choose a path in the store. */
function safeName(eventId: string): string {
  return eventId.replaceAll(/[^A-Za-z0-9-]/g, '_').slice(0, 100);
}
