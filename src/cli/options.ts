import { EvictdError } from '../base/errors.ts';
import { parseDuration } from '../base/units.ts';
import type { Command, OptionSpec, PositionalSpec } from './command.ts';

/** Options that several commands share, so that they read the same everywhere. */
export const CONFIG_OPTION: OptionSpec = {
  name: 'config',
  value: 'FILE',
  description:
    'config file; conf.d/*.yaml beside it is read too (default: EVICTD_CONFIG, or /etc/evictd/config.yaml)',
};

export const IMDS_OPTION: OptionSpec = {
  name: 'imds',
  value: 'URL',
  description:
    'base URL of the metadata service, for example of evictd mock-imds (default: EVICTD_IMDS, or the config)',
};

/** Every command has it, by itself. */
export const HELP_OPTION: OptionSpec = { name: 'help', description: 'show how it is used' };

export const JSON_OPTION: OptionSpec = { name: 'json', description: 'print the result as JSON' };

/** The value of an option that takes one; undefined when it was not given. */
export function textOption(
  options: Readonly<Record<string, string | boolean | undefined>>,
  name: string,
): string | undefined {
  const value = options[name];
  return typeof value === 'string' ? value : undefined;
}

/** `9` for `00000009`: nobody counts zeros. What is no number stays as it is, for an error that shows it. */
export function checkpointId<Text extends string | undefined>(text: Text): Text | string {
  return text !== undefined && /^\d{1,8}$/.test(text) ? text.padStart(8, '0') : text;
}

/** Milliseconds; undefined when the option was not given. Throws `usage`, with its name. */
export function durationOption(
  options: Readonly<Record<string, string | boolean | undefined>>,
  name: string,
): number | undefined {
  const text = textOption(options, name);
  if (text === undefined) return undefined;
  try {
    return parseDuration(text);
  } catch (error) {
    if (!(error instanceof EvictdError)) throw error;
    const remedy = error.remedy === undefined ? {} : { remedy: error.remedy };
    throw new EvictdError('usage', `--${name}: ${error.message}`, { ...remedy, cause: error });
  }
}

/** `hook [options] <command...>` */
export function synopsisOf({ name, positionals }: Pick<Command, 'name' | 'positionals'>): string {
  return [name, '[options]', ...(positionals ?? []).map(argumentTitle)].join(' ');
}

/** `<command...>`, or `[id]` where it may be left out. */
export function argumentTitle({ name, required, variadic }: PositionalSpec): string {
  const inner = variadic === true ? `${name}...` : name;
  return required ? `<${inner}>` : `[${inner}]`;
}

/** The words that may follow `name` ('' for the program): `prune` after `checkpoints`. */
export function wordsAfter(name: string, commands: readonly Command[]): readonly string[] {
  const start = name === '' ? '' : `${name} `;
  const words = commands.flatMap((command) =>
    command.name.startsWith(start) ? [command.name.slice(start.length).split(' ')[0] ?? ''] : [],
  );
  return [...new Set(words)];
}
