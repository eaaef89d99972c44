import type { OptionSpec } from './command.ts';

/** Options that several commands share, so that they read the same everywhere. */
export const CONFIG_OPTION: OptionSpec = {
  name: 'config',
  value: 'FILE',
  description: 'config file; conf.d/*.yaml beside it is read too (default: /etc/evictd/config.yaml)',
};

export const IMDS_OPTION: OptionSpec = {
  name: 'imds',
  value: 'URL',
  description: 'base URL of the metadata service, for example of evictd mock-imds',
};

export const JSON_OPTION: OptionSpec = { name: 'json', description: 'print the result as JSON' };

/** The value of an option that takes one; undefined when it was not given. */
export function textOption(
  options: Readonly<Record<string, string | boolean | undefined>>,
  name: string,
): string | undefined {
  const value = options[name];
  return typeof value === 'string' ? value : undefined;
}
