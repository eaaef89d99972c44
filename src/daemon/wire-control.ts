import { assert } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
import { buildInfo } from '../base/version.ts';
import type { Config } from '../config/schema.ts';
import { type EventHub, createEventHub } from '../control/event-hub.ts';
import { type HookRegistry, createHookRegistry } from '../control/hook-registry.ts';
import { REGISTERED } from '../control/protocol.ts';
import type { CheckpointOrder, ControlHandlers } from '../control/server.ts';
import { isOver } from '../core/hook-stage.ts';
import { mayJoin } from '../core/join.ts';
import type { CheckpointPort, CommitResult } from '../core/ports.ts';
import { eventDocument } from '../core/event-document.ts';
import { hookEnvironment } from '../hooks/environment.ts';
import type { Log } from '../observe/log.ts';
import { helloOf } from './announce.ts';
import { createCheckpointDesk } from './checkpoint-desk.ts';
import type { Loop } from './loop.ts';
import type { HookSources } from './wire-hooks.ts';

/** What `POST /v1/checkpoint` answers, and `evictd checkpoint --json` prints. A stable contract. */
export interface CheckpointAnswer {
  readonly sets: readonly ({ readonly set: string } & CommitResult)[];
}

/** Commits the named set, or all sets, through whatever engine there is. Rejects `no-such-set`, `not-configured`. */
export async function checkpointNow(
  config: Config,
  checkpoints: CheckpointPort | undefined,
  { set: name, takeOver = false, isGuest = false }: Partial<CheckpointOrder>,
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
    ...(await checkpoints.commit({ set, reason: 'command', takeOver, isGuest }, signal)),
  }));
  return { sets: await Promise.all(results) };
}

/** The clients of the control socket: who listens to events, and the hooks that programs have registered. */
export interface Clients {
  readonly hub: EventHub;
  readonly registry: HookRegistry;
}

export function createClients(clock: Clock): Clients {
  return {
    hub: createEventHub({ clock }),
    registry: createHookRegistry({
      clock,
      describe: (request) => {
        const variables = hookEnvironment({}, undefined, request, { spentMs: 0, wallMs: clock.wallMs() });
        const own = Object.entries(variables).filter(([name]) => name.startsWith('EVICTD_'));
        return { environment: Object.fromEntries(own), event: eventDocument(request.event) };
      },
    }),
  };
}

/** The hooks of the daemon, and those that programs have registered. */
export function withRegistered(hooks: HookSources, registry: HookRegistry): HookSources {
  return {
    ...hooks,
    policy: () => {
      const policy = hooks.policy();
      return { ...policy, hooks: [...policy.hooks, ...registry.hooks()] };
    },
    runner: {
      run: (request, signal) =>
        (request.name.startsWith(REGISTERED) ? registry : hooks.runner).run(request, signal),
    },
  };
}

export interface ControlSources {
  readonly status: () => unknown;
  readonly checkpoints: () => CheckpointPort | undefined;
  /** Throws `starting` while there is none. */
  readonly loop: () => Loop;
  readonly hooks: () => HookSources;
}

export function controlHandlers(
  config: Config,
  { registry }: Clients,
  { clock, log }: { readonly clock: Clock; readonly log: Log },
  sources: ControlSources,
): ControlHandlers {
  const desk = createCheckpointDesk(async (request, signal) => {
    const checkpoints = sources.checkpoints();
    assert(checkpoints !== undefined, 'whoever asks has looked for them');
    return await checkpoints.commit(request, signal);
  });
  return {
    status: sources.status,
    async checkpoint(request, signal) {
      const checkpoints = sources.checkpoints();
      const port = checkpoints === undefined ? undefined : { ...checkpoints, commit: desk };
      return await checkpointNow(config, port, request, signal);
    },
    hello: () => helloOf(sources.loop().state(), buildInfo().version, clock),
    register(registration, stream) {
      const loop = sources.loop();
      const hook = registry.register(registration, stream);
      const { name, stage, order, timeoutMs, required } = hook;
      log.info('hook registered', { hook: name, stage, order, timeoutMs, required });
      stream.onClose(() => log.info('registered hook is gone', { hook: name }));
      const { drain } = loop.state();
      if (drain === undefined) return { name };
      const isPart = drain.hooks.some((one) => one.name === name && !isOver(one));
      const joinsDrain = isPart || mayJoin(sources.hooks().policy(), drain, hook);
      if (!isPart) loop.send({ kind: 'hook-registered', name });
      return { name, joinsDrain };
    },
    done: (runId, answer) => registry.done(runId, answer),
  };
}
