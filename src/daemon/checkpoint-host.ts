import { abandonOn, boundedSignal, sleep } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { EvictdError, messageOf } from '../base/errors.ts';
import type { CheckpointPort, SetProgress } from '../core/ports.ts';

/** What becomes of the config's checkpoint section once the VM is known and the store is open. */
export interface OpenCheckpoints {
  readonly port: CheckpointPort;
  writeReport(eventId: string, body: Uint8Array, signal: AbortSignal): Promise<void>;
  /** Resolves when nothing is under way any more. */
  close(): Promise<void>;
}

/** Checkpoints from the first moment on: what is asked for before the store is open waits for it. */
export interface CheckpointHost extends CheckpointPort {
  writeReport(eventId: string, body: Uint8Array, signal: AbortSignal): Promise<void>;
  status(): { readonly ready: boolean; readonly error: string | undefined };
  stop(): Promise<void>;
}

const RETRY_FIRST_MS = 1000;
const RETRY_CAP_MS = 30_000;
/** Opening talks to the identity endpoint and the store; a try that hangs is given up. */
const OPEN_MS = 60_000;

/**
 * Opens the checkpoints in the background and keeps trying: a VM whose identity or container comes late is served
 * as soon as it is there. `onProblem` hears each new reason once.
 */
export function startCheckpointHost(
  options: { readonly sets: readonly string[] },
  dependencies: {
    readonly clock: Clock;
    readonly open: (signal: AbortSignal) => Promise<OpenCheckpoints>;
    readonly onProblem: (error: EvictdError) => void;
    readonly onReady: () => void;
  },
): CheckpointHost {
  const { clock } = dependencies;
  const stopping = new AbortController();
  let opened: OpenCheckpoints | undefined;
  let problem: EvictdError | undefined;
  const ready = keepTrying();

  async function keepTrying(): Promise<OpenCheckpoints> {
    for (let delayMs = RETRY_FIRST_MS; ; delayMs = Math.min(delayMs * 2, RETRY_CAP_MS)) {
      try {
        using bound = boundedSignal(clock, OPEN_MS, stopping.signal);
        opened = await abandonOn(bound.signal, dependencies.open(bound.signal));
        problem = undefined;
        dependencies.onReady();
        return opened;
      } catch (error) {
        if (stopping.signal.aborted) throw error;
        const found =
          error instanceof EvictdError
            ? error
            : new EvictdError('store-unusable', messageOf(error), { cause: error });
        if (found.message !== problem?.message) dependencies.onProblem(found);
        problem = found;
      }
      await sleep(clock, delayMs, stopping.signal);
    }
  }
  // It rejects only when the host is stopped, and then nobody waits for it any more.
  ready.catch(() => undefined);

  async function whenReady(signal: AbortSignal): Promise<OpenCheckpoints> {
    try {
      return opened ?? (await abandonOn(signal, ready));
    } catch (error) {
      throw problem ?? error;
    }
  }

  return {
    async stage(set, signal) {
      await (await whenReady(signal)).port.stage(set, signal);
    },
    async commit(request, signal) {
      try {
        return await (await whenReady(signal)).port.commit(request, signal);
      } catch (error) {
        const code = error instanceof EvictdError ? error.code : 'store-unusable';
        return { kind: 'failed', code, detail: messageOf(error), retryable: true };
      }
    },
    async writeReport(eventId, body, signal) {
      await (await whenReady(signal)).writeReport(eventId, body, signal);
    },
    estimate: () => opened?.port.estimate() ?? { bytesLeft: 0, bytesPerSecond: undefined },
    progress: () => opened?.port.progress() ?? options.sets.map(emptyProgress),
    status: () => ({ ready: opened !== undefined, error: problem?.message }),
    async stop() {
      stopping.abort();
      await opened?.close();
    },
  };
}

/** Of a set that nothing is known of yet. */
export function emptyProgress(name: string): SetProgress {
  return {
    name,
    files: 0,
    bytes: 0,
    bytesStored: 0,
    bytesSent: 0,
    committedAt: undefined,
    checkpointId: undefined,
  };
}
