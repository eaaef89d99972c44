import type { Config } from './schema.ts';
import { KNOWN_EVENT_TYPES } from './schema-events.ts';

/** What is allowed but hardly meant, one sentence each. */
export function warningsOf(config: Config): readonly string[] {
  return [...missingSets(config), ...unknownTypes(config), ...idleHooks(config)];
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
      .map((type) => `hooks: "${name}" is set for ${type}, which doesn't drain, so it won't run for it`),
  );
}
