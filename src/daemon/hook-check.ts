import type { Clock } from '../base/clock.ts';
import type { LoadedConfig } from '../config/load.ts';
import { findHookFaults } from '../hooks/check.ts';
import { commandHooks, readHooksDirectory, systemdHooks } from './wire-hooks.ts';

/** What the daemon would say of its hooks at the start, one sentence each. Starts none of them, never rejects. */
export async function hookWarnings(
  { config, origins }: Pick<LoadedConfig, 'config' | 'origins'>,
  dependencies: {
    readonly clock: Clock;
    readonly environment: Readonly<Record<string, string | undefined>>;
  },
): Promise<readonly string[]> {
  const { directory, refused } = await readHooksDirectory(config.hooksDir);
  const commands = [...commandHooks(config), ...directory.hooks];
  const faults = await findHookFaults(commands, systemdHooks(config), dependencies);
  return [
    ...(refused === undefined ? [] : [`hooksDir: ${withRemedy(refused)}`]),
    ...directory.ignored.map(({ name, why }) => `hooksDir: ${config.hooksDir}/${name} is ignored: ${why}`),
    ...faults.map((fault) => {
      const index = config.hooks.findIndex(({ name }) => name === fault.hook);
      const origin = origins.get(`hooks[${index}].run`) ?? origins.get(`hooks[${index}].systemd.unit`);
      const place = origin === undefined ? '' : `${origin}: `;
      return `${place}hook ${JSON.stringify(fault.hook)} would fail: ${withRemedy(fault)}${asWhom()}`;
    }),
  ];
}

function withRemedy({
  detail,
  remedy,
}: {
  readonly detail: string;
  readonly remedy: string | undefined;
}): string {
  return remedy === undefined ? detail : `${detail}; ${remedy}`;
}

/** Users and owners are judged from where the daemon stands, which normally is root. */
function asWhom(): string {
  const uid = process.geteuid?.() ?? 0;
  return uid === 0 ? '' : ` (checked as user id ${uid})`;
}
