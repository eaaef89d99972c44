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
