import { abandonOn, boundedSignal, sleep } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { EvictdError, messageOf } from '../base/errors.ts';
import type { CheckpointPort, SetProgress } from '../core/ports.ts';
import type { DrainReport } from '../observe/drain-report.ts';

/** What becomes of the config's checkpoint section once the VM is known and the store is open. */
export interface OpenCheckpoints {
  readonly port: CheckpointPort;
  writeReport(report: DrainReport, signal: AbortSignal): Promise<void>;
  /** What goes wrong at the moment, although it could be opened. */
  problem(): EvictdError | undefined;
  /** False while what goes wrong is the store itself. */
  isUsable(): boolean;
  /** Once what was saved for a notice is on disk, too, as far as there is time. Never rejects. */
  synced(signal: AbortSignal): Promise<void>;
  /** Resolves when nothing is under way any more. */
  close(): Promise<void>;
}

/** Checkpoints from the first moment on: what is asked for before the store is open waits for it. */
export interface CheckpointHost extends CheckpointPort {
  writeReport(report: DrainReport, signal: AbortSignal): Promise<void>;
  status(): {
    readonly ready: boolean;
    readonly error: string | undefined;
    readonly remedy: string | undefined;
  };
  /** Why nothing can be stored at the moment. */
  problem(): EvictdError | undefined;
  synced(signal: AbortSignal): Promise<void>;
  stop(): Promise<void>;
}

const RETRY_FIRST_MS = 1000;
const RETRY_CAP_MS = 30_000;
/** Opening talks to the identity endpoint and the store; a try that hangs is given up. */
const OPEN_MS = 60_000;

export interface CheckpointHostDependencies {
  readonly clock: Clock;
  readonly open: (signal: AbortSignal) => Promise<OpenCheckpoints>;
  /** Hears each new reason once. */
  readonly onProblem: (error: EvictdError) => void;
  readonly onReady: () => void;
}

/**
 * Opens the checkpoints in the background and keeps trying: a VM whose identity or container comes late is served
 * as soon as it is there.
 */
export function startCheckpointHost(
  options: { readonly sets: readonly string[] },
  dependencies: CheckpointHostDependencies,
): CheckpointHost {
  const opening = startOpening(dependencies);
  const opened = () => opening.opened();
  const problem = () => opening.problem() ?? opened()?.problem();
  return {
    async stage(set, signal) {
      await (await opening.ready(signal)).port.stage(set, signal);
    },
    async commit(request, signal) {
      try {
        const { port } = await (request.reason === 'command'
          ? opening.readyOrNot(signal)
          : opening.ready(signal));
        return await port.commit(request, signal);
      } catch (error) {
        const found = storeError(error);
        return { kind: 'failed', code: found.code, detail: textOf(found), retryable: true };
      }
    },
    async writeReport(report, signal) {
      await (await opening.ready(signal)).writeReport(report, signal);
    },
    estimate: () =>
      opened()?.port.estimate() ?? {
        // A store that can't be used won't take anything; of one that is just being opened nothing is known.
        bytesLeft: opening.problem() === undefined ? undefined : 0,
        bytesPerSecond: undefined,
      },
    progress: () => opened()?.port.progress() ?? options.sets.map(emptyProgress),
    status: () => ({
      ready: opened()?.isUsable() === true,
      error: problem()?.message,
      remedy: problem()?.remedy,
    }),
    problem,
    synced: async (signal) => opened()?.synced(signal),
    async stop() {
      opening.stop();
      await opened()?.close();
    },
  };
}

interface Opening {
  opened(): OpenCheckpoints | undefined;
  /** Why it isn't open yet. */
  problem(): EvictdError | undefined;
  /** Waits until it is open; rejects with the newest problem, or the signal's reason. */
  ready(signal: AbortSignal): Promise<OpenCheckpoints>;
  /** For somebody at a terminal: why the store can't be used is an answer, waiting for better times is none. */
  readyOrNot(signal: AbortSignal): Promise<OpenCheckpoints>;
  stop(): void;
}

function startOpening({ clock, open, onProblem, onReady }: CheckpointHostDependencies): Opening {
  const stopping = new AbortController();
  let opened: OpenCheckpoints | undefined;
  let problem: EvictdError | undefined;
  const tried = Promise.withResolvers<void>();
  const ready = keepTrying();
  // It rejects only when the host is stopped, and then nobody waits for it any more.
  ready.catch(() => undefined);

  async function keepTrying(): Promise<OpenCheckpoints> {
    for (let delayMs = RETRY_FIRST_MS; ; delayMs = Math.min(delayMs * 2, RETRY_CAP_MS)) {
      try {
        using bound = boundedSignal(clock, OPEN_MS, stopping.signal);
        opened = await abandonOn(bound.signal, open(bound.signal));
        problem = undefined;
        tried.resolve();
        onReady();
        return opened;
      } catch (error) {
        if (stopping.signal.aborted) throw error;
        const found = storeError(error);
        if (found.message !== problem?.message) onProblem(found);
        problem = found;
        tried.resolve();
      }
      await sleep(clock, delayMs, stopping.signal);
    }
  }

  async function whenReady(signal: AbortSignal): Promise<OpenCheckpoints> {
    try {
      return opened ?? (await abandonOn(signal, ready));
    } catch (error) {
      throw problem ?? error;
    }
  }

  return {
    opened: () => opened,
    problem: () => problem,
    ready: whenReady,
    async readyOrNot(signal) {
      await abandonOn(signal, tried.promise);
      if (opened === undefined && problem !== undefined) throw problem;
      return whenReady(signal);
    },
    stop: () => stopping.abort(),
  };
}

function textOf({ message, remedy }: EvictdError): string {
  return remedy === undefined ? message : `${message}; ${remedy}`;
}

function storeError(error: unknown): EvictdError {
  if (error instanceof EvictdError) return error;
  return new EvictdError('store-unusable', messageOf(error), { cause: error });
}

/** Of a set that nothing is known of yet. */
export function emptyProgress(name: string): SetProgress {
  return {
    name,
    scanned: false,
    files: 0,
    bytes: 0,
    bytesStored: 0,
    bytesSent: 0,
    committedAt: undefined,
    checkpointId: undefined,
  };
}
