/** In place of `src/daemon/wire-hooks.ts`: hooks that do as the world wants. */
import type { Config } from '../../../src/config/schema.ts';
import { policyOf } from '../../../src/daemon/policy.ts';
import type { HookSources } from '../../../src/daemon/wire-hooks.ts';
import { runningProcess } from '../guest.ts';

export async function wireHooks(config: Config): Promise<HookSources> {
  const process = runningProcess();
  const policy = policyOf(config, []);
  return {
    policy: () => policy,
    refresh: async () => undefined,
    runner: { run: (request, signal) => process.doors.runHook(process, request, signal) },
  };
}
