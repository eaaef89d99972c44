import type { Clock } from '../base/clock.ts';
import { type EvictdError, messageOf } from '../base/errors.ts';
import { type Checkpointer, createCheckpointer } from '../checkpoint/commit/checkpointer.ts';
import { pruneSet } from '../checkpoint/retention/prune.ts';
import { writeReport } from '../checkpoint/retention/reports.ts';
import { createProbe } from '../checkpoint/store/probe.ts';
import type { BlobStore } from '../checkpoint/store/store.ts';
import { rehearsalPrefix } from '../checkpoint/commit/rehearsal-store.ts';
import type { Checkpoint, Config } from '../config/schema.ts';
import type { CommitRequest, CommitResult } from '../core/ports.ts';
import type { Instance } from '../imds/instance.ts';
import type { Log } from '../observe/log.ts';
import { startBackground } from './background.ts';
import { type CheckpointHost, type OpenCheckpoints, startCheckpointHost } from './checkpoint-host.ts';
import { createDryCheckpoints } from './dry-run.ts';
import { createGoodbyes } from './goodbye.ts';
import type { Identity } from './identity.ts';
import { expandKey } from './key.ts';
import { startLateReports } from './late-reports.ts';
import { reportFiles } from './report.ts';
import { type StoreWatch, startStoreWatch } from './store-watch.ts';
import { type OpenStore, openStore } from './wire-store.ts';

/** Where this VM's checkpoints are: `PREFIX/KEY`. */
export interface Place {
  readonly prefix: string;
  readonly key: string;
}

/** Store and engine, with nothing going on yet. */
export interface OpenEngine extends OpenStore {
  readonly port: Checkpointer;
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
  /** A rehearsal's: what the engine has in place of the store, and where its packs go. */
  readonly over?: (store: BlobStore, place: Place) => Rehearsal;
}

interface Rehearsal {
  readonly store: BlobStore;
  readonly packPrefix: (set: string) => string;
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
  const host = startCheckpointHost(
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
  return withLateReports(host, config.state.dir, dependencies);
}

/** Reports that the store doesn't take in time wait on the disk, and are written once it does. */
function withLateReports(
  host: CheckpointHost,
  stateDir: string,
  { clock, log, isDraining }: CheckpointDependencies,
): CheckpointHost {
  const late = startLateReports(stateDir, {
    clock,
    isDraining,
    write: (report, signal) => host.writeReport(report, signal),
    onWritten: (eventId) => log.info('report of an earlier drain stored', { eventId }),
    onSpoiled: (file, detail) =>
      log.warn('report that waited can not be read, and was removed', { file, detail }),
  });
  const onNotKept = (error: unknown) =>
    log.error('report of the drain not kept for later either', { detail: messageOf(error) });
  return {
    ...host,
    async writeReport(report, signal) {
      // Neither is waited for: an ack must not come too late because of a disk.
      try {
        await host.writeReport(report, signal);
        void late.replace(report).catch(onNotKept);
      } catch (error) {
        void late.keep(report).catch(onNotKept);
        throw error;
      }
    },
    async stop() {
      late.stop();
      await host.stop();
    },
  };
}

/** What the daemon does beside: watches the store, stages, commits on a schedule and prunes. */
function withBackground(
  { config, checkpoint, bootId }: CheckpointSources,
  engine: OpenEngine,
  dependencies: CheckpointDependencies,
): OpenCheckpoints {
  const { clock, log, isDraining } = dependencies;
  const { port, store, place } = engine;
  const watch = watchStore(engine, dependencies);
  const paths = new Map(checkpoint.sets.map(({ name, path }) => [name, path]));
  const goodbyes = createGoodbyes({ dir: config.state.dir, bootId, key: place.key, paths }, { clock, log });
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
        const options = { place: { ...place, set }, keep: checkpoint.keep, dryRun: false, stop };
        const { removed, packs, bytes } = await pruneSet(options, { store }, signal);
        if (removed.length + packs > 0) log.info('older checkpoints removed', { set, removed, packs, bytes });
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
        const isLast = request.reason === 'notice' || request.reason === 'shutdown';
        if (isLast && result.kind === 'committed') await goodbyes.say(request.set, result.id, signal);
        return result;
      },
    },
    writeReport: (report, bound) => writeReport(store, place, report.eventId, reportFiles(report), bound),
    problem: () => watch.problem() ?? work.problem(),
    isUsable: () => watch.problem() === undefined,
    synced: (signal) => goodbyes.synced(signal),
    async close() {
      watch[Symbol.dispose]();
      await work.stop();
      await engine.close();
    },
  };
}

function watchStore(
  { store, place, tokenError }: OpenEngine,
  { clock, log }: CheckpointDependencies,
): StoreWatch {
  return startStoreWatch({
    probe: createProbe(store, rehearsalPrefix(place)),
    reach: (signal) => store.ensureContainer(signal),
    tokenError,
    clock,
    onProblem: ({ code, message, remedy }) =>
      log.error('checkpoint store can not be used, trying again', { code, detail: message, remedy }),
    onWorks: () => log.info('checkpoint store can be used again'),
  });
}

/** Opens store and engine. Rejects with the EvictdErrors of the store, and those of a key that can't be made. */
export async function openCheckpoints(
  sources: CheckpointSources,
  { clock, onNote }: { readonly clock: Clock; readonly onNote: (set: string, error: EvictdError) => void },
  signal: AbortSignal,
): Promise<OpenEngine> {
  const { config, checkpoint, bootId } = sources;
  const opened = await openStore(config, checkpoint, { clock });
  try {
    opened.start();
    const { store, workers, target } = opened;
    const instance = await sources.instance(signal);
    const key = expandKey(checkpoint.key, instance);
    await store.ensureContainer(signal);
    const place = { prefix: target.prefix, key };
    const rehearsal = sources.over?.(store, place);
    const port = createCheckpointer(
      {
        ...place,
        sets: checkpoint.sets,
        writer: { vmName: instance.name, vmId: instance.vmId, bootId },
        indexDirectory: sources.indexDirectory ?? config.state.dir,
        ...(rehearsal !== undefined && { packPrefix: rehearsal.packPrefix }),
      },
      { store: rehearsal?.store ?? store, workers, clock, onNote },
    );
    return {
      ...opened,
      port,
      place,
      async close() {
        await port.close();
        await opened.close();
      },
    };
  } catch (error) {
    await opened.close();
    throw error;
  }
}
