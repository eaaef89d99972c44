import type { Clock } from '../base/clock.ts';
import type { State } from '../core/state.ts';

/** One line for `systemctl status`. */
export function statusLine(state: State): string {
  const { drain, vmName } = state;
  if (drain === undefined) return vmName === undefined ? 'Waiting for the own name' : `Watching as ${vmName}`;
  const hooks = drain.hooks.filter(({ run }) => run.kind === 'running').map(({ name }) => name);
  const sets = drain.sets.filter(({ run }) => run.kind === 'committed').length;
  return [
    `${drain.event.type} ${drain.event.id}: ${drain.outcome ?? drain.phase}`,
    ...(hooks.length > 0 ? [`hooks running: ${hooks.join(', ')}`] : []),
    ...(drain.sets.length > 0 ? [`${sets} of ${drain.sets.length} sets committed`] : []),
  ].join('; ');
}

/** Shows the state in `systemctl status`; disposing it forgets what was not shown yet. */
export interface StatusTeller extends Disposable {
  /** Asks for the state when the time has come, so that it is the newest. */
  tell(state: () => State): void;
}

/** Telling systemd starts a program, which takes as long as starting a hook: a notice's first moments are the hooks'. */
const TELL_AFTER_MS = 200;

export function createStatusTeller(dependencies: {
  readonly clock: Clock;
  readonly show: (line: string) => void;
}): StatusTeller {
  let timer: Disposable | undefined;
  return {
    tell(state) {
      timer ??= dependencies.clock.timer(TELL_AFTER_MS, () => {
        timer = undefined;
        dependencies.show(statusLine(state()));
      });
    },
    [Symbol.dispose]: () => timer?.[Symbol.dispose](),
  };
}
