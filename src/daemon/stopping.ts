import { boundedSignal } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import { askManager, mayMakeUnits } from '../hooks/manager.ts';
import type { ServiceNotifier } from '../observe/systemd.ts';
import type { Assembly, DaemonDependencies, DaemonOptions } from './assemble.ts';

/** As long as systemd itself gives a service to stop, unless told otherwise: nobody is surprised by a longer shutdown. */
const LAST_CHECKPOINT_MS = 90_000;
/** Asked for again and again, so that a daemon that hangs while it stops is not waited for. */
const EXTEND_MS = 30_000;
const EXTEND_EVERY_MS = 10_000;
const ASK_MS = 3000;

/** What is between SIGTERM and the end. Disposing it ends the asking for more time. */
export interface Stopping extends Disposable {
  begin(): void;
}

/**
 * A stop lets the drain that is under way finish. When the whole machine is being shut down without one, it is as if
 * there had been a notice: there is a last checkpoint, unless the config says otherwise.
 */
export function createStopping(
  { config, env }: DaemonOptions,
  { clock, log }: DaemonDependencies,
  { loop, checkpoints }: Assembly,
  notifier: ServiceNotifier,
): Stopping {
  let extension: Disposable | undefined;
  const extend = () => {
    if (loop.isTurning()) void notifier.extendTimeout(EXTEND_MS);
    extension = clock.timer(EXTEND_EVERY_MS, extend);
  };

  async function takeLastCheckpoint(): Promise<void> {
    if (checkpoints === undefined || config.checkpoint?.onShutdown !== true) return;
    if (!mayMakeUnits(env) || !(await isShuttingDown(clock))) return;
    extend();
    log.info('the machine is being shut down, taking a last checkpoint');
    using bound = boundedSignal(clock, LAST_CHECKPOINT_MS);
    await Promise.all(
      config.checkpoint.sets.map(async ({ name }) => {
        const result = await checkpoints.commit({ set: name, reason: 'shutdown' }, bound.signal);
        const fields = { set: name, reason: 'shutdown', ...result };
        if (result.kind === 'committed') log.info('checkpoint taken', fields);
        else log.error('last checkpoint failed', fields);
      }),
    );
  }

  return {
    begin() {
      const { drain } = loop.state();
      const isOver = drain === undefined || drain.phase === 'waiting';
      const message = isOver ? 'asked to stop' : 'asked to stop, finishing the drain first';
      log.info(message, { phase: drain?.phase });
      void notifier.stopping();
      if (!isOver) extend();
      const before = drain === undefined ? takeLastCheckpoint() : Promise.resolve();
      before
        .catch((error: unknown) => log.error('no last checkpoint', { detail: messageOf(error) }))
        .finally(() => loop.send({ kind: 'stop-requested' }));
    },
    [Symbol.dispose]: () => extension?.[Symbol.dispose](),
  };
}

/** Not at a mere restart of the service. Rejects with `systemd-failed`. */
async function isShuttingDown(clock: Clock): Promise<boolean> {
  // It exits with 1 for every state but "running".
  const { stdout } = await askManager('systemctl', ['is-system-running'], { clock, limitMs: ASK_MS });
  return stdout.trim() === 'stopping';
}
