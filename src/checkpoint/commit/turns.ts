import { abandonOn, childController } from '../../base/abort.ts';
import { createGate } from '../../base/concurrency.ts';
import { EvictdError } from '../../base/errors.ts';
import type { CheckpointReason } from '../../core/ports.ts';

/** `stage` is what a drain asks for, `background` what nobody asked for. */
export type TurnKind = CheckpointReason | 'stage' | 'background';

/** Work on one set, one after the other. */
export interface Turns {
  /**
   * Runs `work` when it is its turn, under a signal that also ends when it has to give way: then it rejects `gave-way`.
   * At the abort of `signal` the answer comes at once; the turn ends when the work has. `takesOver`: a conflict is over.
   */
  run<T>(
    kind: TurnKind,
    signal: AbortSignal,
    work: (signal: AbortSignal) => Promise<T>,
    takesOver?: boolean,
  ): Promise<T>;
  /** Ends what runs, if it is of such a kind. */
  giveWay(...kinds: readonly TurnKind[]): void;
  /** Resolves when nothing is under way. */
  idle(): Promise<void>;
}

/*
 * INVARIANTS
 * - One work at a time; the others wait in the order in which they came, each under its own signal: what a drain asks for
 *   before all others, background work behind them.
 * - A conflict is for good: this process never goes on from what another writer wrote, unless somebody says that it shall.
 * - A turn is over when its work has settled, not when its caller has turned away.
 */
export function createTurns({ name }: { readonly name: string }): Turns {
  const gate = createGate({ placesMax: 1, weightMax: 1 });
  let conflict: EvictdError | undefined;
  let running: { readonly kind: TurnKind; readonly controller: AbortController } | undefined;

  const turn: Turns['run'] = async (kind, signal, work, takesOver) => {
    if (takesOver === true) conflict = undefined;
    if (conflict !== undefined) throw conflict;
    using controller = childController(signal);
    running = { kind, controller };
    try {
      return await work(controller.signal);
    } catch (error) {
      if (error instanceof EvictdError && error.code === 'conflict') conflict = error;
      throw controller.signal.aborted ? controller.signal.reason : error;
    } finally {
      running = undefined;
    }
  };

  return {
    async run(kind, signal, work, takesOver) {
      const place = await gate.enter(1, signal, rankOf(kind));
      const finished = turn(kind, signal, work, takesOver);
      void finished.catch(() => undefined).then(() => place[Symbol.dispose]());
      return abandonOn(signal, finished);
    },
    giveWay(...kinds) {
      if (running !== undefined && kinds.includes(running.kind)) running.controller.abort(gaveWay(name));
    },
    async idle() {
      const never = new AbortController().signal;
      (await gate.enter(1, never))[Symbol.dispose]();
    },
  };
}

function rankOf(kind: TurnKind): number {
  if (kind === 'notice' || kind === 'stage') return 0;
  return kind === 'background' ? 2 : 1;
}

export function gaveWay(name: string): EvictdError {
  return new EvictdError('gave-way', `the work on ${name} gave way to a more urgent checkpoint`);
}
