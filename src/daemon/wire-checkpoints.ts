import type { Clock } from '../base/clock.ts';
import type { EvictdError } from '../base/errors.ts';
import { type Checkpointer, createCheckpointer } from '../checkpoint/checkpointer.ts';
import type { AzureBlobStore } from '../checkpoint/azure-store.ts';
import type { BlobStore } from '../checkpoint/store.ts';
import { pruneSet } from '../checkpoint/prune.ts';
import { writeReport } from '../checkpoint/reports.ts';
import type { Checkpoint, Config } from '../config/schema.ts';
import type { CommitRequest, CommitResult } from '../core/ports.ts';
import type { Instance } from '../imds/instance.ts';
import type { Log } from '../observe/log.ts';
import { startBackground } from './background.ts';
import { type CheckpointHost, type OpenCheckpoints, startCheckpointHost } from './checkpoint-host.ts';
import { createDryCheckpoints } from './dry-run.ts';
import type { Identity } from './identity.ts';
import { expandKey } from './key.ts';
import { startWarmth } from './warmth.ts';
import { openStore } from './wire-store.ts';

/** Where this VM's checkpoints are: `PREFIX/KEY`. */
export interface Place {
  readonly prefix: string;
  readonly key: string;
}

/** Store and engine, with nothing going on yet. */
export interface OpenEngine {
  readonly port: Checkpointer;
  readonly store: AzureBlobStore;
  readonly place: Place;
  /** Resolves when nothing is under way any more; closes the store too. */
  close(): Promise<void>;
}

export interface CheckpointSources {
  readonly config: Config;
  readonly checkpoint: Checkpoint;
  readonly bootId: string;
  /** Waits for the instance document where the key or the manifest needs it. */
  readonly instance: (signal: AbortSignal) => Promise<Instance>;
  /** Where the file indexes are, when not in `state.dir`. */
  readonly indexDirectory?: string;
  /** What the engine has in place of the store. */
  readonly over?: (store: BlobStore, place: Place) => BlobStore;
}

export interface CheckpointDependencies {
  readonly clock: Clock;
  readonly log: Log;
  readonly isDraining: () => boolean;
  /** Hears how every try to commit ended. */
  readonly onCommit: (request: CommitRequest, result: CommitResult) => void;
}

/** The config's checkpoint section at work; undefined without one. */
export function wireCheckpoints(
  config: Config,
  dryRun: boolean,
  bootId: string,
  identity: Pick<Identity, 'instance'>,
  dependencies: CheckpointDependencies,
): CheckpointHost | undefined {
  const { clock, log } = dependencies;
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
      open: async (signal) => {
        const onNote = (set: string, { code, message, remedy }: EvictdError) =>
          log.warn('checkpoint with a reservation, continuing', { set, code, detail: message, remedy });
        const engine = await openCheckpoints(sources, { clock, onNote }, signal);
        return withBackground(sources, engine, dependencies);
      },
      onProblem: ({ code, message, remedy }) =>
        log.error('checkpoints can not be stored, trying again', { code, detail: message, remedy }),
      onReady: () => log.info('checkpoint store is ready', { url: checkpoint.store.url }),
    },
  );
}

/** What the daemon does beside: keeps the store's connection warm, stages, commits on a schedule and prunes. */
function withBackground(
  { checkpoint }: CheckpointSources,
  engine: OpenEngine,
  dependencies: CheckpointDependencies,
): OpenCheckpoints {
  const { clock, log, isDraining } = dependencies;
  const { port, store, place } = engine;
  const warmth = startWarmth({
    store,
    clock,
    onProblem: ({ code, message, remedy }) =>
      log.error('checkpoint store can not be used, trying again', { code, detail: message, remedy }),
    onWorks: () => log.info('checkpoint store can be used again'),
  });
  const { background, every } = checkpoint;
  const work = startBackground(
    {
      sets: checkpoint.sets.map(({ name }) => name),
      staging:
        background === false
          ? undefined
          : { intervalMs: background.interval, idleMs: background.idle, bytesPerSecond: background.maxRate },
      everyMs: every,
    },
    {
      checkpointer: port,
      prune: async (set, stop, signal) => {
        const options = { ...place, set, keep: checkpoint.keep, dryRun: false, stop };
        const { removed, snapshots, blobs } = await pruneSet(options, { store }, signal);
        if (removed.length > 0) log.info('older checkpoints removed', { set, removed, snapshots, blobs });
      },
      clock,
      random: Math.random,
      isDraining,
      onCommit: (set, result) => {
        dependencies.onCommit({ set, reason: 'schedule' }, result);
        const fields = { set, reason: 'schedule', ...result };
        if (result.kind === 'committed') log.info('checkpoint taken', fields);
        else log.warn('checkpoint failed, continuing', fields);
      },
      onProblem: (set, { code, message, remedy }) =>
        log.warn('work on checkpoints in the background fails, trying again', {
          set,
          code,
          detail: message,
          remedy,
        }),
      onWorks: (set) => log.info('work on checkpoints in the background works again', { set }),
    },
  );
  return {
    port: {
      ...port,
      async commit(request, signal) {
        const result = await port.commit(request, signal);
        dependencies.onCommit(request, result);
        if (result.id !== undefined) work.pruneSoon(request.set);
        return result;
      },
    },
    writeReport: (eventId, files, bound) => writeReport(store, place, eventId, files, bound),
    problem: () => warmth.problem() ?? work.problem(),
    async close() {
      warmth[Symbol.dispose]();
      await work.stop();
      await engine.close();
    },
  };
}

/** Opens store and engine. Rejects with the EvictdErrors of the store, and those of a key that can't be made. */
export async function openCheckpoints(
  sources: CheckpointSources,
  { clock, onNote }: { readonly clock: Clock; readonly onNote: (set: string, error: EvictdError) => void },
  signal: AbortSignal,
): Promise<OpenEngine> {
  const { config, checkpoint, bootId } = sources;
  const store = await openStore(config, checkpoint, { clock });
  try {
    store.start();
    const instance = await sources.instance(signal);
    const key = expandKey(checkpoint.key, instance);
    await store.ensureContainer(signal);
    const place = { prefix: store.target.prefix, key };
    const port = createCheckpointer(
      {
        ...place,
        sets: checkpoint.sets,
        writer: { vmName: instance.name, vmId: instance.vmId, bootId },
        indexDirectory: sources.indexDirectory ?? config.state.dir,
      },
      { store: sources.over?.(store, place) ?? store, clock, onNote },
    );
    return {
      port,
      store,
      place,
      async close() {
        await port.close();
        store.stop();
      },
    };
  } catch (error) {
    store.stop();
    throw error;
  }
}
