import type { LoadedConfig } from '../config/load.ts';
import type { Invocation } from './command.ts';
import { textOption } from './options.ts';

/** The configuration as `--config`, `--imds` and the environment of a command say. Rejects with `ConfigInvalid`. */
export async function loadConfigFor({
  options,
  env,
}: Pick<Invocation, 'options' | 'env'>): Promise<LoadedConfig> {
  const { loadConfig } = await import('../config/load.ts');
  const imds = textOption(options, 'imds');
  return loadConfig({
    file: textOption(options, 'config'),
    env,
    overrides: imds === undefined ? [] : [{ flag: '--imds', path: ['imds', 'endpoint'], value: imds }],
  });
}
