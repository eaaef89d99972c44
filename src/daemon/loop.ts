import { AssertionFailed } from '../base/assert.ts';
import { abandonOn, boundedSignal } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { decide, wakeAt } from '../core/decide.ts';
import type { Effect, Input, Moment } from '../core/effect.ts';
import type { Policy } from '../core/policy.ts';
import type { UploadEstimate } from '../core/ports.ts';
import type { State } from '../core/state.ts';

// INVARIANTS:
// - Only `turn` changes the state, and it never runs twice at once.
// - The state is persisted before the effects that came with it are performed; effects keep their order.
// - `send` never decides: callbacks and executors enqueue, the loop runs at its own pace.
// - A journal that can't be written delays a turn by at most PERSIST_MS and never stops it; while it stays that way,
//   each further turn by at most PERSIST_AGAIN_MS, so that a disk that hangs doesn't use up the window.

/** An input without the moment, which the loop adds when it takes the input up. */
export type News = Input extends infer I ? (I extends Input ? Omit<I, keyof Moment> : never) : never;

export interface Loop {
  send(news: News): void;
  state(): State;
  /** False when something waits to be decided on and nothing was for too long. For the watchdog. */
  isTurning(): boolean;
  /** For errors that are bugs: ends the process, and systemd starts it again. */
  readonly crash: (error: unknown) => void;
  /** No more turns, no more effects. */
  stop(): void;
}

export interface LoopDependencies {
  readonly clock: Clock;
  /** Asked at every turn: hooks may come and go while nothing drains. */
  readonly policy: () => Policy;
  /** Undefined: it is kept already. */
  readonly persist: (state: State) => Promise<void> | undefined;
  /** Starts the effect and returns; results come back through `send`. */
  readonly perform: (effect: Effect) => void;
  readonly upload: () => UploadEstimate | undefined;
  /** Hears every decision, for metrics and the like; before the new state is kept. */
  readonly onDecided: (before: State, after: State) => void;
  /** Called once when it begins to fail; `onPersistWorks` when it works again. */
  readonly onPersistFailed: (error: unknown) => void;
  readonly onPersistWorks: () => void;
  readonly onCrash: (error: unknown) => void;
}

/** Longer than any healthy disk takes; a drain can't wait for a broken one. */
const PERSIST_MS = 1000;
const PERSIST_AGAIN_MS = 50;
const STUCK_MS = 10_000;
/** Far above what polls, hooks and sets can produce between two turns. */
const QUEUE_MAX = 10_000;

/** The one place where things are decided: takes what happened, remembers, then does. */
export function startLoop(initial: State, dependencies: LoopDependencies): Loop {
  const { clock } = dependencies;
  const persist = createPersister(dependencies);
  let state = initial;
  let queue: { readonly news: News; readonly queuedAt: number }[] = [];
  let turning = false;
  let stopped = false;
  let lastTurnAt = clock.monotonicMs();
  let decidedAt = lastTurnAt;
  let timer: Disposable | undefined;

  async function turn(): Promise<void> {
    if (turning || stopped) return;
    turning = true;
    while (queue.length > 0) {
      const batch = queue;
      queue = [];
      const policy = dependencies.policy();
      const effects: Effect[] = [];
      for (const { news, queuedAt } of batch) {
        const input = stamp(news, queuedAt, dependencies);
        const decision = decide(policy, state, input);
        decidedAt = input.at;
        dependencies.onDecided(state, decision.state);
        state = decision.state;
        effects.push(...decision.effects);
      }
      await persist(state);
      if (stopped) return;
      for (const effect of effects) dependencies.perform(effect);
      lastTurnAt = clock.monotonicMs();
    }
    turning = false;
    armTimer();
  }

  function armTimer(): void {
    timer?.[Symbol.dispose]();
    timer = undefined;
    const at = stopped ? undefined : wakeAt(dependencies.policy(), state, decidedAt);
    if (at === undefined) return;
    // What came due while the state was being written is due now. One millisecond more: a timer that fires a hair
    // early would find nothing due and spin.
    const delayMs = Math.max(0, at - clock.monotonicMs()) + 1;
    timer = clock.timer(delayMs, () => send({ kind: 'tick' }));
  }

  function send(news: News): void {
    if (stopped) return;
    if (queue.length >= QUEUE_MAX) throw new AssertionFailed('the loop does not keep up with its inputs');
    queue.push({ news, queuedAt: clock.monotonicMs() });
    turn().catch((error: unknown) => dependencies.onCrash(error));
  }

  return {
    send,
    state: () => state,
    crash: dependencies.onCrash,
    isTurning: () => queue.length === 0 || clock.monotonicMs() - lastTurnAt < STUCK_MS,
    stop() {
      stopped = true;
      timer?.[Symbol.dispose]();
    },
  };
}

/** Keeps the state, within its bound; a failure is told once, and so is its end. */
function createPersister(dependencies: LoopDependencies): (state: State) => Promise<void> {
  let fails = false;
  return async (state) => {
    try {
      const writing = dependencies.persist(state);
      if (writing === undefined && !fails) return;
      using bound = boundedSignal(dependencies.clock, fails ? PERSIST_AGAIN_MS : PERSIST_MS);
      if (writing !== undefined) await abandonOn(bound.signal, writing);
      if (fails) dependencies.onPersistWorks();
      fails = false;
    } catch (error) {
      if (!fails) dependencies.onPersistFailed(error);
      fails = true;
    }
  };
}

function stamp(news: News, queuedAt: number, { clock, upload }: LoopDependencies): Input {
  const at = clock.monotonicMs();
  const moment: Moment = { at, wallAt: clock.wallMs(), upload: upload() };
  if (news.kind !== 'document' || news.document.serverNow === undefined) return { ...news, ...moment };
  // The server's time has gone on while the document waited here.
  const serverNow = news.document.serverNow + (at - queuedAt);
  return { ...news, ...moment, document: { ...news.document, serverNow } };
}
