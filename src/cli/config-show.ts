import { type Command, EXIT } from './command.ts';
import { configFile } from './load-config.ts';
import { CONFIG_OPTION, JSON_OPTION } from './options.ts';

export const configShowCommand: Command = {
  name: 'config show',
  summary: 'print the effective configuration and where each value comes from',
  description: 'Files that hold secrets are named, never read.',
  options: [CONFIG_OPTION, JSON_OPTION],
  async run({ options, env, out, err }) {
    const { loadConfig } = await import('../config/load.ts');
    const { values, files, warnings } = await loadConfig({ file: configFile({ options, env }), env });
    if (options['json'] === true) {
      out.write(`${JSON.stringify({ files, values, warnings })}\n`);
      return EXIT.done;
    }
    for (const warning of warnings) err.write(`evictd: warning: ${warning}\n`);
    const lines = values.map(({ key, value, origin }) => ({
      setting: `${key}: ${showPlain(value)}`,
      origin,
    }));
    const width = Math.min(60, Math.max(...lines.map(({ setting }) => setting.length)));
    out.write(lines.map(({ setting, origin }) => `${setting.padEnd(width)}  # ${origin}\n`).join(''));
    return EXIT.done;
  },
};

function showPlain(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}
