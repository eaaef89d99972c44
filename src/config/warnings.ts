import { formatDuration } from '../base/units.ts';
import { nearest } from './nearest.ts';
import type { Config } from './schema.ts';
import { KNOWN_EVENT_TYPES } from './schema-events.ts';

/** What is allowed but hardly meant, one sentence each. */
export function warningsOf(config: Config): readonly string[] {
  return [
    ...missingSets(config),
    ...undrained(config),
    ...unknownTypes(config),
    ...idleHooks(config),
    ...slowHooks(config),
  ];
}

/** These end the VM, and what nobody saved is gone. */
const ENDS_THE_VM = ['Preempt', 'Terminate'];

function undrained({ events }: Config): readonly string[] {
  return ENDS_THE_VM.filter((type) => events.types[type]?.drain === false).map((type) => {
    const { checkpoint = false } = events.types[type] ?? {};
    const what = checkpoint ? 'no hook runs' : 'no hook runs and nothing is saved';
    return `events.${type}.drain: false, so ${what} when the VM is about to go`;
  });
}

/** Of a stage that has a window. */
function slowHooks({ hooks, window }: Config): readonly string[] {
  return hooks
    .filter(
      ({ scope, stage, timeout }) => scope === 'own' && stage !== 'on-resume' && timeout > window.notice,
    )
    .map(
      ({ name, timeout }) =>
        `hooks: "${name}" may take ${formatDuration(timeout)}, but a notice gives ${formatDuration(window.notice)} ` +
        '(window.notice) for everything, so it would be cut',
    );
}

function missingSets({ checkpoint }: Config): readonly string[] {
  if (checkpoint === undefined || checkpoint.sets.length > 0) return [];
  return ['checkpoint.sets: there is no set, so nothing will be uploaded'];
}

function unknownTypes({ events }: Config): readonly string[] {
  return Object.keys(events.types)
    .filter((type) => !KNOWN_EVENT_TYPES.includes(type))
    .map((type) => `events.${type}: this type of event is unknown (known: ${KNOWN_EVENT_TYPES.join(', ')})`);
}

function idleHooks({ events, hooks }: Config): readonly string[] {
  return hooks.flatMap(({ name, on }) =>
    (on ?? [])
      .filter((type) => events.types[type]?.drain !== true)
      .map((type) => {
        const near = KNOWN_EVENT_TYPES.includes(type) ? undefined : nearest(type, KNOWN_EVENT_TYPES);
        const hint = near === undefined ? '' : `; did you mean ${near}?`;
        return `hooks: "${name}" is set for ${type}, which doesn't drain, so it won't run for it${hint}`;
      }),
  );
}
