import { boundedSignal, sleep } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { State } from '../core/state.ts';
import { askManager } from '../hooks/manager.ts';
import type { Log } from '../observe/log.ts';
import type { ServiceNotifier } from '../observe/systemd.ts';
import type { Assembly } from './assemble.ts';

/** As long as systemd itself gives a service to stop, unless told otherwise: nobody is surprised by a longer shutdown. */
const LAST_CHECKPOINT_MS = 90_000;
/** Asked for again and again, so that a daemon that hangs while it stops is not waited for. */
const EXTEND_MS = 30_000;
const EXTEND_EVERY_MS = 10_000;
const ASK_MS = 3000;
const LOOK_MS = 200;

/** What is between SIGTERM and the end. Disposing it ends the asking for more time. */
export interface Stopping extends Disposable {
  begin(): void;
}

export interface StoppingDependencies {
  readonly clock: Clock;
  readonly log: Log;
  readonly notifier: Pick<ServiceNotifier, 'stopping' | 'extendTimeout'>;
  /** Not at a mere restart of the service. */
  readonly isShuttingDown: () => Promise<boolean>;
}

/**
 * A stop lets the drain that is under way finish. When the whole machine is being shut down without one, it is as if
 * there had been a notice: there is a last checkpoint, unless the config says otherwise. And a set that the window was
 * too short for goes on being committed, for as long as systemd waits.
 */
export function createStopping(
  { onShutdown }: { readonly onShutdown: boolean },
  { clock, log, notifier, isShuttingDown }: StoppingDependencies,
  { loop, checkpoints }: Pick<Assembly, 'loop' | 'checkpoints'>,
): Stopping {
  let extension: Disposable | undefined;
  const extend = () => {
    if (loop.isTurning()) void notifier.extendTimeout(EXTEND_MS);
    extension = clock.timer(EXTEND_EVERY_MS, extend);
  };
  const keepExtending = () => {
    if (extension === undefined) extend();
  };

  async function saveAtShutdown(): Promise<void> {
    const { drain } = loop.state();
    const isWanted = drain === undefined || isSaving(loop.state());
    if (!onShutdown || !isWanted || !(await isShuttingDown())) return;
    keepExtending();
    using bound = boundedSignal(clock, LAST_CHECKPOINT_MS);
    await (drain === undefined ? takeLastCheckpoint(bound.signal) : lateCommits(bound.signal));
  }

  async function takeLastCheckpoint(signal: AbortSignal): Promise<void> {
    if (checkpoints === undefined) return;
    log.info('the machine is being shut down, taking a last checkpoint');
    const endsAt = clock.monotonicMs() + LAST_CHECKPOINT_MS;
    await Promise.all(
      checkpoints.progress().map(async ({ name }) => {
        const result = await checkpoints.commit({ set: name, reason: 'shutdown', endsAt }, signal);
        const fields = { set: name, reason: 'shutdown', ...result };
        if (result.kind === 'committed') log.info('checkpoint taken', fields);
        else log.error('last checkpoint failed', fields);
      }),
    );
  }

  /** They are the drain's own; here they are only waited for. */
  async function lateCommits(signal: AbortSignal): Promise<void> {
    while (isSaving(loop.state())) await sleep(clock, LOOK_MS, signal);
  }

  return {
    begin() {
      const { drain } = loop.state();
      const isOver = drain === undefined || drain.phase === 'waiting';
      const message = isOver ? 'asked to stop' : 'asked to stop, finishing the drain first';
      log.info(message, { phase: drain?.phase });
      void notifier.stopping();
      if (!isOver) keepExtending();
      saveAtShutdown()
        .catch((error: unknown) => log.error('no last checkpoint', { detail: messageOf(error) }))
        .finally(() => loop.send({ kind: 'stop-requested' }));
    },
    [Symbol.dispose]: () => extension?.[Symbol.dispose](),
  };
}

/** There is something to commit in its window, or late. */
function isSaving({ drain }: State): boolean {
  if (drain === undefined) return false;
  return drain.sets.some(({ run }) => run.kind !== 'committed' && (run.kind !== 'failed' || run.retryable));
}

/** Rejects with `systemd-failed`. */
export async function isMachineShuttingDown(clock: Clock): Promise<boolean> {
  // It exits with 1 for every state but "running".
  const { stdout } = await askManager('systemctl', ['is-system-running'], { clock, limitMs: ASK_MS });
  return stdout.trim() === 'stopping';
}
