import { boundedSignal } from '../base/abort.ts';
import type { Clock, MonotonicMs } from '../base/clock.ts';
import { EvictdError } from '../base/errors.ts';
import { DAEMON_ENDS } from '../core/ports.ts';

export type OperationKind = 'hook' | 'upload';

/** What runs for a drain, so that it can be cut short while it runs. */
export interface Operations {
  /**
   * Runs `work` under a signal that ends after `limitMs`, or earlier by `tighten` or `cancel`.
   * What `work` does with its result is its own business; a rejection goes to `onBug`.
   */
  run(
    drainId: string,
    kind: OperationKind,
    limitMs: number,
    work: (signal: AbortSignal) => Promise<void>,
  ): void;
  tighten(drainId: string, kind: OperationKind, endsAt: MonotonicMs): void;
  cancel(drainId: string, kind: OperationKind): void;
  /** Ends everything and resolves when all of it is over. */
  stop(): Promise<void>;
}

interface Running {
  readonly drainId: string;
  readonly kind: OperationKind;
  readonly abort: AbortController;
  readonly settled: Promise<void>;
  tightened: Disposable | undefined;
}

export function createOperations(clock: Clock, onBug: (error: unknown) => void): Operations {
  const running = new Set<Running>();

  function of(drainId: string, kind: OperationKind): Running[] {
    return [...running].filter((one) => one.drainId === drainId && one.kind === kind);
  }

  return {
    run(drainId, kind, limitMs, work) {
      const abort = new AbortController();
      const bound = boundedSignal(clock, limitMs, abort.signal);
      const settled = work(bound.signal)
        .catch(onBug)
        .finally(() => {
          bound[Symbol.dispose]();
          one.tightened?.[Symbol.dispose]();
          running.delete(one);
        });
      const one: Running = { drainId, kind, abort, settled, tightened: undefined };
      running.add(one);
    },
    tighten(drainId, kind, endsAt) {
      for (const one of of(drainId, kind)) {
        one.tightened?.[Symbol.dispose]();
        one.tightened = clock.timer(endsAt - clock.monotonicMs(), () => one.abort.abort());
      }
    },
    cancel(drainId, kind) {
      for (const one of of(drainId, kind)) one.abort.abort();
    },
    async stop() {
      const reason = new EvictdError(DAEMON_ENDS, 'evictd ends');
      for (const one of running) one.abort.abort(reason);
      await Promise.all([...running].map(({ settled }) => settled));
    },
  };
}
