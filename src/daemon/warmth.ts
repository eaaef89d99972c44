import { boundedSignal } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { EvictdError, messageOf } from '../base/errors.ts';
import type { AzureBlobStore } from '../checkpoint/azure-store.ts';

/** Keeps the connection to the store warm, and by that finds out early when the store can't be used any more. */
export interface Warmth extends Disposable {
  /** Why it can't be used at the moment. */
  problem(): EvictdError | undefined;
}

export interface WarmthDependencies {
  readonly store: Pick<AzureBlobStore, 'keepWarm' | 'tokenError'>;
  readonly clock: Clock;
  /** Hears each new reason once. */
  readonly onProblem: (error: EvictdError) => void;
  readonly onWorks: () => void;
}

/** Below the idle limit of the service's front end and of most NATs (4 minutes on Azure). */
const EVERY_MS = 60_000;
const TRY_MS = 10_000;

/**
 * A first request after a long pause would have to look up the name and shake hands, inside the window. And a role that
 * was taken away weeks after the start must not wait for the notice to be noticed.
 */
export function startWarmth({ store, clock, onProblem, onWorks }: WarmthDependencies): Warmth {
  let problem: EvictdError | undefined;
  const note = (found: EvictdError | undefined) => {
    const earlier = problem;
    problem = found;
    if (found !== undefined && found.message !== earlier?.message) onProblem(found);
    if (found === undefined && earlier !== undefined) onWorks();
  };
  const warm = async () => {
    using bound = boundedSignal(clock, TRY_MS);
    try {
      await store.keepWarm(bound.signal);
      note(store.tokenError());
    } catch (error) {
      note(
        error instanceof EvictdError
          ? error
          : new EvictdError('store-unusable', messageOf(error), { cause: error }),
      );
    }
  };
  const tick = () => {
    timer = clock.timer(EVERY_MS, tick);
    void warm();
  };
  let timer = clock.timer(EVERY_MS, tick);
  return {
    problem: () => problem,
    [Symbol.dispose]: () => timer[Symbol.dispose](),
  };
}
