import type { Clock } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
import { isServed } from '../core/peers.ts';
import type { State } from '../core/state.ts';
import { askManager, complaintOf } from '../hooks/manager.ts';
import { forgetUnits } from '../hooks/unit-state.ts';

/** Started at the notice, stopped when the VM turns out to live on. */
export const PREEMPT_TARGET = 'evictd-preempt.target';

/** What systemd has to know of a drain: that there is one, and when the units of its hooks are of no use any more. */
export interface SystemdDrain extends Disposable {
  /** To be called when the state may have changed; what is done about it is done beside, and only once. */
  follow(state: State): void;
}

/** Starting a program takes as long as starting a hook, and the first moments of a notice are the hooks'. */
const AFTER_HOOKS_MS = 25;
const ASK_MS = 5000;

export interface SystemdDrainDependencies {
  readonly clock: Clock;
  readonly manager: DrainManager;
  /** Hears each kind of failure that was survived. */
  readonly onFailure: (error: unknown) => void;
}

/** What is asked of the service manager. */
export interface DrainManager {
  tell(verb: 'start' | 'stop'): Promise<void>;
  /** Removes all units of hooks. */
  forgetUnits(): Promise<void>;
}

export function createSystemdDrain({ clock, manager, onFailure }: SystemdDrainDependencies): SystemdDrain {
  let target: 'start' | 'stop' | undefined;
  let isClean = false;
  const timers = new DisposableStack();
  // Only what is still right by then: a drain can begin at any moment, and its hooks' units must not be removed.
  const soon = (isRight: () => boolean, work: () => Promise<void>) =>
    timers.use(clock.timer(AFTER_HOOKS_MS, () => void (isRight() && work().catch(onFailure))));

  return {
    follow(state) {
      const wanted = isEvicting(state) ? 'start' : 'stop';
      const isOver = state.drain === undefined && !state.peers.some(isServed);
      if (wanted !== target) {
        soon(
          () => target === wanted,
          () => manager.tell(wanted),
        );
      }
      if (isOver && !isClean) {
        soon(
          () => isClean,
          () => manager.forgetUnits(),
        );
      }
      target = wanted;
      isClean = isOver;
    },
    [Symbol.dispose]: () => timers.dispose(),
  };
}

export function systemdManager(clock: Clock): DrainManager {
  return {
    async tell(verb) {
      const args = ['--no-ask-password', '--no-block', verb, PREEMPT_TARGET];
      const answer = await askManager('systemctl', args, { clock, limitMs: ASK_MS });
      if (answer.code === 0) return;
      throw new EvictdError('systemd-failed', `systemctl ${verb} ${PREEMPT_TARGET}: ${complaintOf(answer)}`);
    },
    forgetUnits: () => forgetUnits(clock),
  };
}

/** For a daemon that is no service of systemd. */
export const NO_SYSTEMD_DRAIN: SystemdDrain = { follow: () => undefined, [Symbol.dispose]: () => undefined };

function isEvicting({ drain }: State): boolean {
  return drain !== undefined && drain.phase !== 'withdrawn' && drain.phase !== 'resuming';
}
