import type { Config, Hook } from '../config/schema.ts';
import type { HookPolicy, Policy } from '../core/policy.ts';

/** What the core needs of the configuration, with the hooks of hooksDir after the configured ones. */
export function policyOf(config: Config, directoryHooks: readonly HookPolicy[]): Policy {
  const names = new Set(config.hooks.map(({ name }) => name));
  const hooksOf = (scope: Hook['scope']) =>
    config.hooks.filter((hook) => hook.scope === scope).map(hookPolicy);
  return {
    vmName: configuredVmName(config),
    window: {
      noticeMs: config.window.notice,
      urgentMs: config.window.urgent,
      reserveMs: config.window.reserve,
    },
    events: config.events.types,
    ackShared: config.events.ackShared,
    hooks: [...hooksOf('own'), ...directoryHooks.filter(({ name }) => !names.has(name))],
    peerHooks: hooksOf('peers'),
    sets: (config.checkpoint?.sets ?? []).map(({ name, priority }) => ({ name, priority })),
  };
}

export function configuredVmName(config: Config): string | undefined {
  return config.vm.name === 'auto' ? undefined : config.vm.name;
}

function hookPolicy({ name, on, stage, order, timeout, required }: Hook): HookPolicy {
  return { name, on, stage, order, timeoutMs: timeout, required };
}
