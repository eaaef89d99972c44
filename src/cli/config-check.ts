import { systemClock } from '../base/clock.ts';
import { formatCount } from '../base/units.ts';
import { type Command, EXIT, type Invocation } from './command.ts';
import { configFile } from './load-config.ts';
import { CONFIG_OPTION, JSON_OPTION } from './options.ts';

export const configCheckCommand: Command = {
  name: 'config check',
  summary: 'say whether the configuration is valid',
  description:
    'Reads all files and variables as the daemon would and names every problem with its place. Of what is valid ' +
    'but would not work or save nothing, such as a hook whose program is missing here or a set none of whose files ' +
    'fit its patterns, it warns.\n\n' +
    'Exit code 0 when it is valid, 2 when it is not; with --strict also 2 when there is a warning.',
  options: [{ name: 'strict', description: 'take a warning for an error' }, CONFIG_OPTION, JSON_OPTION],
  async run({ options, env, out, err }) {
    const { loadConfig, DEFAULT_CONFIG_FILE } = await import('../config/load.ts');
    const { ConfigInvalid } = await import('../config/problem.ts');
    const { secretFaults } = await import('../daemon/secret-check.ts');
    const { hookWarnings } = await import('../daemon/hook-check.ts');
    const { setWarnings } = await import('../daemon/set-check.ts');
    const json = options['json'] === true;
    try {
      const loaded = await loadConfig({ file: configFile({ options, env }), env });
      const { files } = loaded;
      const warnings = [
        ...(files.length > 0
          ? []
          : [`no config file was found: neither ${DEFAULT_CONFIG_FILE} nor conf.d/*.yaml beside it`]),
        ...loaded.warnings,
        ...(await secretFaults(loaded.config)),
        ...(await hookWarnings(loaded, { clock: systemClock, environment: env })),
        ...(await setWarnings(loaded.config, { clock: systemClock })),
      ];
      if (json) out.write(`${JSON.stringify({ valid: true, files, warnings, problems: [] })}\n`);
      else printValid(files, warnings, { out, err });
      return options['strict'] === true && warnings.length > 0 ? EXIT.usage : EXIT.done;
    } catch (error) {
      if (!json || !(error instanceof ConfigInvalid)) throw error;
      const problems = error.problems.map(({ origin, key, message, allowed }) => ({
        origin,
        key,
        message,
        allowed,
      }));
      out.write(`${JSON.stringify({ valid: false, files: [], warnings: [], problems })}\n`);
      return EXIT.usage;
    }
  },
};

function printValid(
  files: readonly string[],
  warnings: readonly string[],
  { out, err }: Pick<Invocation, 'out' | 'err'>,
): void {
  for (const warning of warnings) err.write(`evictd: warning: ${warning}\n`);
  const verdict = warnings.length === 0 ? 'OK' : `valid, with ${formatCount(warnings.length, 'warning')}`;
  const what = files.length === 0 ? 'there is no config file, the defaults apply' : files.join(', ');
  out.write(`${verdict}: ${what}\n`);
}
