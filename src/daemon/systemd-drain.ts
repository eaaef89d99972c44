import type { Clock } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
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

export function createSystemdDrain(dependencies: {
  readonly clock: Clock;
  /** Hears each kind of failure that was survived. */
  readonly onFailure: (error: unknown) => void;
}): SystemdDrain {
  const { clock } = dependencies;
  let target: 'start' | 'stop' | undefined;
  let isClean = false;
  const timers = new DisposableStack();
  const soon = (work: () => Promise<void>) =>
    timers.use(clock.timer(AFTER_HOOKS_MS, () => void work().catch(dependencies.onFailure)));

  async function tell(verb: 'start' | 'stop'): Promise<void> {
    const args = ['--no-ask-password', '--no-block', verb, PREEMPT_TARGET];
    const answer = await askManager('systemctl', args, { clock, limitMs: ASK_MS });
    if (answer.code === 0) return;
    throw new EvictdError('systemd-failed', `systemctl ${verb} ${PREEMPT_TARGET}: ${complaintOf(answer)}`);
  }

  return {
    follow(state) {
      const wanted = isEvicting(state) ? 'start' : 'stop';
      if (wanted !== target) soon(() => tell(wanted));
      target = wanted;
      const isOver = state.drain === undefined;
      if (isOver && !isClean) soon(() => forgetUnits(clock));
      isClean = isOver;
    },
    [Symbol.dispose]: () => timers.dispose(),
  };
}

/** For a daemon that is no service of systemd. */
export const NO_SYSTEMD_DRAIN: SystemdDrain = { follow: () => undefined, [Symbol.dispose]: () => undefined };

function isEvicting({ drain }: State): boolean {
  return drain !== undefined && drain.phase !== 'withdrawn' && drain.phase !== 'resuming';
}
