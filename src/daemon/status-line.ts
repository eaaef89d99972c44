import type { Clock } from '../base/clock.ts';
import type { EvictdError } from '../base/errors.ts';
import type { State } from '../core/state.ts';

/**
 * One line for `systemctl status`. Troubles are for the quiet times, when somebody can do something about them, each
 * with its remedy.
 */
export function statusLine(
  state: State,
  isBlind: boolean,
  troubles: readonly (EvictdError | undefined)[],
): string {
  const { drain, vmName } = state;
  if (drain === undefined) {
    const said = troubles
      .filter((trouble) => trouble !== undefined)
      .map(({ message, remedy }) => (remedy === undefined ? message : `${message} (${remedy})`));
    const doing = vmName === undefined ? 'Waiting for the own name' : `Watching as ${vmName}`;
    return [isBlind ? 'BLIND: the metadata service does not answer' : doing, ...said].join('; ');
  }
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
  /** Asks for the line when the time has come, so that it is the newest; one that is shown already needs no telling. */
  tell(line: () => string): void;
}

/** Telling systemd starts a program, which takes as long as starting a hook: a notice's first moments are the hooks'. */
const TELL_AFTER_MS = 200;

export function createStatusTeller(dependencies: {
  readonly clock: Clock;
  readonly show: (line: string) => void;
}): StatusTeller {
  let timer: Disposable | undefined;
  let shown: string | undefined;
  return {
    tell(line) {
      timer ??= dependencies.clock.timer(TELL_AFTER_MS, () => {
        timer = undefined;
        const now = line();
        if (now !== shown) dependencies.show(now);
        shown = now;
      });
    },
    [Symbol.dispose]: () => timer?.[Symbol.dispose](),
  };
}
