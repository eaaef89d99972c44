import type { Clock } from '../base/clock.ts';
import type { LoadedConfig } from '../config/load.ts';
import { findHookFaults } from '../hooks/check.ts';
import { NOTHING_TO_DO, isNothingToDo } from './nothing-to-do.ts';
import { commandHooks, readHooksDirectory, systemdHooks } from './wire-hooks.ts';

/** What the daemon would say of its hooks at the start, one sentence each. Starts none of them, never rejects. */
export async function hookWarnings(
  loaded: Pick<LoadedConfig, 'config' | 'origins'>,
  dependencies: HookCheckDependencies,
): Promise<readonly string[]> {
  const { hooks, problems } = await examineHooks(loaded, dependencies);
  const said = problems.map(({ text, remedy }) => (remedy === undefined ? text : `${text}; ${remedy}`));
  return isNothingToDo(hooks, loaded.config.checkpoint?.sets.length) ? [NOTHING_TO_DO, ...said] : said;
}

export interface HookCheckDependencies {
  readonly clock: Clock;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

export interface HookProblem {
  readonly text: string;
  readonly remedy: string | undefined;
  /** A hook that would fail, not just a file that is none. */
  readonly isFault: boolean;
}

/** The same, with what is worse told from what is not, and how many hooks there are. */
export async function examineHooks(
  { config, origins }: Pick<LoadedConfig, 'config' | 'origins'>,
  dependencies: HookCheckDependencies,
): Promise<{ readonly hooks: number; readonly problems: readonly HookProblem[] }> {
  const { directory, refused } = await readHooksDirectory(config.hooksDir);
  const commands = [...commandHooks(config), ...directory.hooks];
  const faults = await findHookFaults(commands, systemdHooks(config), dependencies);
  const problems = [
    ...(refused === undefined
      ? []
      : [{ text: `hooksDir: ${refused.detail}`, remedy: refused.remedy, isFault: true }]),
    ...directory.ignored.map(({ name, why }) => ({
      text: `hooksDir: ${config.hooksDir}/${name} is ignored: ${why}`,
      remedy: undefined,
      isFault: false,
    })),
    ...faults.map((fault) => {
      const index = config.hooks.findIndex(({ name }) => name === fault.hook);
      const origin = origins.get(`hooks[${index}].run`) ?? origins.get(`hooks[${index}].systemd.unit`);
      const place = origin === undefined ? '' : `${origin}: `;
      const text = `${place}hook ${JSON.stringify(fault.hook)} would fail: ${fault.detail}${asWhom()}`;
      return { text, remedy: fault.remedy, isFault: true };
    }),
  ];
  return { hooks: config.hooks.length + directory.hooks.length, problems };
}

/** Users and owners are judged from where the daemon stands, which normally is root. */
function asWhom(): string {
  const uid = process.geteuid?.() ?? 0;
  return uid === 0 ? '' : ` (checked as user id ${uid})`;
}
