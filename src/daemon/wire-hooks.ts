import type { Clock } from '../base/clock.ts';
import { EvictdError, messageOf } from '../base/errors.ts';
import type { Config, Hook } from '../config/schema.ts';
import type { HookRunner } from '../core/ports.ts';
import type { Policy } from '../core/policy.ts';
import { findHookFaults } from '../hooks/check.ts';
import { listHooksDirectory, type HooksDirectory } from '../hooks/hooks-directory.ts';
import { mayMakeUnits } from '../hooks/manager.ts';
import { type HttpHook, createHttpRunner } from '../hooks/http-runner.ts';
import { type CommandHook, type HookOutputLine, createHookRunner } from '../hooks/runner.ts';
import { type SystemdHook, createSystemdRunner } from '../hooks/systemd-runner.ts';
import type { Log } from '../observe/log.ts';
import { createDryHooks } from './dry-run.ts';
import { policyOf } from './policy.ts';

/** The hooks as they are now: those of the config, and the programs that lie in hooksDir. */
export interface HookSources {
  readonly runner: HookRunner;
  policy(): Policy;
  /**
   * Looks into hooksDir again, and takes what is there unless `isBusy` by then: a drain's hooks never change under it.
   */
  refresh(isBusy: () => boolean): Promise<void>;
}

interface HookDependencies {
  readonly clock: Clock;
  readonly log: Log;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly vmName: () => string | undefined;
  /** Programs as units of systemd; by default where this process is a service that may make them. */
  readonly asUnits?: boolean;
}

/** Reads hooksDir; a folder that can't be used is reported and taken as empty, since the config's hooks still work. */
export async function wireHooks(
  config: Config,
  dryRun: boolean,
  dependencies: HookDependencies,
): Promise<HookSources> {
  const { clock, log, env } = dependencies;
  let directory: HooksDirectory = { hooks: [], ignored: [] };
  let seen = '';
  let faultsSaid: readonly string[] = [];
  let policy = policyOf(config, []);

  async function refresh(isBusy: () => boolean): Promise<void> {
    const found = await readHooksDirectory(config.hooksDir);
    if (isBusy()) return;
    directory = found.directory;
    policy = policyOf(config, directory.hooks);
    const text = JSON.stringify(found);
    if (text === seen) return;
    const isFirst = seen === '';
    seen = text;
    const { hooks, ignored } = directory;
    if (found.refused !== undefined) {
      log.error('hooksDir refused, continuing without it', found.refused);
    } else if (hooks.length > 0 || ignored.length > 0 || !isFirst) {
      const names = hooks.map(({ name }) => name);
      const level = ignored.length > 0 ? 'warn' : 'info';
      log[level]('hooksDir read', { hooksDir: config.hooksDir, hooks: names, ignored });
    }
    // Not waited for: the first poll must not stand behind a directory server that doesn't answer.
    void warnOfFaults([...commandHooks(config), ...hooks], systemdHooks(config));
  }

  /** An eviction is a bad moment to learn that a program is missing. */
  async function warnOfFaults(
    commands: readonly CommandHook[],
    units: readonly SystemdHook[],
  ): Promise<void> {
    const faults = await findHookFaults(commands, units, { clock, environment: env });
    const before = faultsSaid;
    faultsSaid = faults.map((fault) => JSON.stringify(fault));
    for (const fault of faults) {
      if (!before.includes(JSON.stringify(fault)))
        log.warn('hook would fail if it had to run now', { ...fault });
    }
  }

  await refresh(() => false);
  const now = () => [...commandHooks(config), ...directory.hooks];
  return {
    policy: () => policy,
    refresh,
    runner: dryRun ? createDryHooks(log) : runnerByKind(config, now, dependencies),
  };
}

type HookKind = 'run' | 'systemd' | 'http';

/** Each kind of hook has its own runner. What isn't in the config lies in hooksDir, and is a program. */
function runnerByKind(
  config: Config,
  commands: () => readonly CommandHook[],
  { clock, log, env, vmName, asUnits = mayMakeUnits(env) }: HookDependencies,
): HookRunner {
  const onOutput = ({ hook, stream, text }: HookOutputLine) =>
    log.info('hook output', { hook, stream, text });
  const runners: Readonly<Record<HookKind, HookRunner>> = {
    // The hooks are asked for at each start, since those of hooksDir come and go.
    run: {
      run: (request, signal) =>
        createHookRunner({ hooks: commands(), asUnits }, { clock, environment: env, onOutput }).run(
          request,
          signal,
        ),
    },
    systemd: createSystemdRunner(systemdHooks(config), { clock }),
    http: createHttpRunner(httpHooks(config), { clock, random: Math.random, vmName }),
  };
  const kinds = new Map(config.hooks.map((hook) => [hook.name, kindOf(hook)]));
  return {
    run: (request, signal) => runners[kinds.get(request.name) ?? 'run'].run(request, signal),
  };
}

function kindOf(hook: Hook): HookKind {
  if (hook.systemd !== undefined) return 'systemd';
  return hook.http === undefined ? 'run' : 'http';
}

/** What lies in hooksDir, or why it can't be used. */
export async function readHooksDirectory(hooksDir: string): Promise<{
  readonly directory: HooksDirectory;
  readonly refused?: { readonly detail: string; readonly remedy: string | undefined };
}> {
  try {
    return { directory: await listHooksDirectory(hooksDir) };
  } catch (error) {
    const remedy = error instanceof EvictdError ? error.remedy : undefined;
    return { directory: { hooks: [], ignored: [] }, refused: { detail: messageOf(error), remedy } };
  }
}

/** The hooks of the config that are programs. */
export function commandHooks(config: Config): CommandHook[] {
  return config.hooks.flatMap(({ name, run, user }) => (run === undefined ? [] : [{ name, run, user }]));
}

/** The hooks of the config that act on units. */
export function systemdHooks(config: Config): SystemdHook[] {
  return config.hooks.flatMap(({ name, systemd }) => (systemd === undefined ? [] : [{ name, ...systemd }]));
}

/** The hooks of the config that tell somebody over HTTP. */
function httpHooks(config: Config): HttpHook[] {
  return config.hooks.flatMap(({ name, http }) => (http === undefined ? [] : [{ name, ...http }]));
}
