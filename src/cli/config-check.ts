import { systemClock } from '../base/clock.ts';
import { type Command, EXIT, type ExitCode, type Output } from './command.ts';
import { CONFIG_OPTION, JSON_OPTION, textOption } from './options.ts';

export const configCheckCommand: Command = {
  name: 'config check',
  summary: 'say whether the configuration is valid',
  description:
    'Reads all files and variables as the daemon would and names every problem with its place. Of what is valid ' +
    'but would not work, such as a hook whose program or a secret whose file is missing here, it warns.\n\n' +
    'Exit code 0 when it is valid, 2 when it is not.',
  options: [CONFIG_OPTION, JSON_OPTION],
  async run({ options, env, out, err }) {
    const { loadConfig, DEFAULT_CONFIG_FILE } = await import('../config/load.ts');
    const { ConfigInvalid } = await import('../config/problem.ts');
    const { missingSecrets } = await import('../config/secret-files.ts');
    const { hookWarnings } = await import('../daemon/hook-check.ts');
    const json = options['json'] === true;
    try {
      const loaded = await loadConfig({ file: textOption(options, 'config'), env });
      const { files } = loaded;
      const warnings = [
        ...(files.length > 0
          ? []
          : [`no config file was found: neither ${DEFAULT_CONFIG_FILE} nor conf.d/*.yaml beside it`]),
        ...loaded.warnings,
        ...missingSecrets(loaded.config),
        ...(await hookWarnings(loaded, { clock: systemClock, environment: env })),
      ];
      return json
        ? printJson(out, { valid: true, files, warnings, problems: [] }, EXIT.done)
        : printValid(files, warnings, out, err);
    } catch (error) {
      if (!json || !(error instanceof ConfigInvalid)) throw error;
      const problems = error.problems.map(({ origin, key, message, allowed }) => ({
        origin,
        key,
        message,
        allowed,
      }));
      return printJson(out, { valid: false, files: [], warnings: [], problems }, EXIT.usage);
    }
  },
};

function printValid(
  files: readonly string[],
  warnings: readonly string[],
  out: Output,
  err: Output,
): ExitCode {
  for (const warning of warnings) err.write(`evictd: warning: ${warning}\n`);
  out.write(
    files.length === 0 ? 'OK: there is no config file, the defaults apply\n' : `OK: ${files.join(', ')}\n`,
  );
  return EXIT.done;
}

function printJson(out: Output, result: unknown, code: ExitCode): ExitCode {
  out.write(`${JSON.stringify(result)}\n`);
  return code;
}
