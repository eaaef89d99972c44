import { abandonOn, boundedSignal } from '../base/abort.ts';
import { EvictdError } from '../base/errors.ts';
import type { HookPolicy } from '../core/policy.ts';
import type { HookRunner } from '../core/ports.ts';
import type { EventStream } from './event-hub.ts';
import { type HookRunsDependencies, type Outcome, createHookRuns } from './hook-runs.ts';
import { type Done, type Registration, policyOfRegistration } from './protocol.ts';

/** The hooks that programs have registered over the control socket; each lives exactly as long as its stream. */
export interface HookRegistry extends HookRunner {
  hooks(): readonly HookPolicy[];
  /** For as long as the stream lives; as a guest, unless it is the owner's. Throws `name-taken`. */
  register(registration: Registration, stream: EventStream): HookPolicy;
  /** Throws `no-such-run` when it isn't waited for (any more). */
  done(runId: string, answer: Done): void;
}

/** When the daemon was started again its clients come back by themselves; so long after its start they are waited for. */
const COME_BACK_MS = 3000;

const ABSENT: Outcome = {
  kind: 'failed',
  reason: 'gone',
  detail: 'the program that registered it is not there any more',
};

interface Registered {
  readonly policy: HookPolicy;
  readonly stream: EventStream;
}

export function createHookRegistry(dependencies: HookRunsDependencies): HookRegistry {
  const { clock } = dependencies;
  const runs = createHookRuns(dependencies);
  const registered = new Map<string, Registered>();
  const comeBackBy = clock.monotonicMs() + COME_BACK_MS;
  const arrivals = new Set<() => void>();

  /** Undefined when it isn't there and doesn't come back in time. */
  async function clientOf(
    name: string,
    limitMs: number,
    signal: AbortSignal,
  ): Promise<Registered | undefined> {
    const waitMs = Math.min(comeBackBy - clock.monotonicMs(), limitMs);
    if (registered.has(name) || waitMs <= 0) return registered.get(name);
    using bound = boundedSignal(clock, waitMs, signal);
    const { promise, resolve } = Promise.withResolvers<void>();
    const look = () => registered.has(name) && resolve();
    arrivals.add(look);
    // That it doesn't come is an answer as well.
    await abandonOn(bound.signal, promise).catch(() => undefined);
    arrivals.delete(look);
    return registered.get(name);
  }

  return {
    hooks: () => [...registered.values()].map(({ policy }) => policy),
    async run(request, signal) {
      const startedAt = clock.monotonicMs();
      const spentMs = () => clock.monotonicMs() - startedAt;
      const client = await clientOf(request.name, request.timeoutMs, signal);
      const outcome =
        client === undefined
          ? ABSENT
          : await runs.run(client.stream, request, request.timeoutMs - spentMs(), signal);
      return { ...outcome, durationMs: spentMs() };
    },
    register(registration, stream) {
      const policy = policyOfRegistration(registration, { isGuest: !stream.isOfOwner });
      const { name } = policy;
      if (registered.has(name)) {
        throw new EvictdError('name-taken', `another program has registered ${registration.name}`, {
          remedy: 'choose another name',
        });
      }
      registered.set(name, { policy, stream });
      stream.onClose(() => {
        registered.delete(name);
        runs.gone(name);
      });
      for (const look of arrivals) look();
      return policy;
    },
    done: (runId, answer) => runs.done(runId, answer),
  };
}
