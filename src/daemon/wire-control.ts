import { EvictdError } from '../base/errors.ts';
import type { Config } from '../config/schema.ts';
import type { ControlHandlers } from '../control/server.ts';
import type { CheckpointPort, CommitResult } from '../core/ports.ts';

/** What `POST /v1/checkpoint` answers, and `evictd checkpoint --json` prints. A stable contract. */
export interface CheckpointAnswer {
  readonly sets: readonly ({ readonly set: string } & CommitResult)[];
}

/** Commits the named set, or all sets, through whatever engine there is. Rejects `no-such-set`, `not-configured`. */
export async function checkpointNow(
  config: Config,
  checkpoints: CheckpointPort | undefined,
  name: string | undefined,
  signal: AbortSignal,
): Promise<CheckpointAnswer> {
  const names = (config.checkpoint?.sets ?? []).map((set) => set.name);
  if (checkpoints === undefined || names.length === 0) {
    throw new EvictdError('not-configured', 'the config has no checkpoint.sets', {
      remedy: 'add a checkpoint section with a store and at least one set',
    });
  }
  if (name !== undefined && !names.includes(name)) {
    throw new EvictdError('no-such-set', `there is no set ${JSON.stringify(name)}`, {
      remedy: `the config has ${names.join(', ')}`,
    });
  }
  const chosen = name === undefined ? names : [name];
  const results = chosen.map(async (set) => ({
    set,
    ...(await checkpoints.commit({ set, reason: 'command' }, signal)),
  }));
  return { sets: await Promise.all(results) };
}

export function controlHandlers(
  config: Config,
  sources: {
    readonly status: () => unknown;
    readonly checkpoints: () => CheckpointPort | undefined;
  },
): ControlHandlers {
  return {
    status: sources.status,
    checkpoint: async (set, signal) => checkpointNow(config, sources.checkpoints(), set, signal),
  };
}
