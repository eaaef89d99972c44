import type { LoadedConfig } from '../config/load.ts';
import type { Invocation } from './command.ts';
import { textOption } from './options.ts';

/** The configuration as `--config`, `--imds` and the environment of a command say. Rejects with `ConfigInvalid`. */
export async function loadConfigFor({
  options,
  env,
}: Pick<Invocation, 'options' | 'env'>): Promise<LoadedConfig> {
  const { loadConfig } = await import('../config/load.ts');
  const imds = textOption(options, 'imds') ?? env['EVICTD_IMDS'];
  return loadConfig({
    file: configFile({ options, env }),
    env,
    overrides:
      imds === undefined
        ? []
        : [
            {
              flag: textOption(options, 'imds') === undefined ? 'environment EVICTD_IMDS' : '--imds',
              path: ['imds', 'endpoint'],
              value: imds,
            },
          ],
  });
}

/** As `--config` says, or the variable EVICTD_CONFIG; undefined: the default one. */
export function configFile({ options, env }: Pick<Invocation, 'options' | 'env'>): string | undefined {
  return textOption(options, 'config') ?? env['EVICTD_CONFIG'];
}
