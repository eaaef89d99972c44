import type { HookRequest, HookResult } from '../../src/core/ports.ts';
import type { Facts, HookFact } from './facts.ts';
import type { GuestProcess } from './guest.ts';
import type { Random } from './random.ts';

export interface HookWorld {
  readonly facts: Facts;
  readonly random: Random;
  readonly now: () => number;
  readonly isCalm: boolean;
  readonly onEnd: (request: HookRequest, result: HookResult) => void;
}

/** Programs as hooks run them: quick, slow, failing, hanging, and some that go on after the daemon has died. */
export function runHook(
  process: GuestProcess,
  request: HookRequest,
  signal: AbortSignal,
  { facts, random, now, isCalm, onEnd }: HookWorld,
): Promise<HookResult> {
  const startedAt = now();
  const fact: HookFact = { process, request, startedAt, endedAt: undefined, result: undefined };
  facts.hooks.push(fact);
  process.doors.crashPoint(process, `hook ${request.name}`);
  const { clock } = process;
  const kind = isCalm ? 'quick' : random.pick(KINDS);
  return new Promise((resolve) => {
    const timers: Disposable[] = [];
    const end = (how: 'succeeded' | 'exit' | 'timeout' | 'cancelled') => {
      if (fact.result !== undefined) return;
      for (const timer of timers) timer[Symbol.dispose]();
      const durationMs = now() - startedAt;
      fact.endedAt = now();
      fact.result =
        how === 'succeeded'
          ? { kind: how, durationMs }
          : { kind: 'failed', reason: how, detail: 'as the world wants it', durationMs };
      onEnd(request, fact.result);
      resolve(fact.result);
    };
    // From TERM to KILL.
    const graceMs = random.between(0, 900);
    signal.addEventListener('abort', () => timers.push(clock.timer(graceMs, () => end('cancelled'))));
    if (kind !== 'silent')
      timers.push(
        clock.timer(request.timeoutMs, () => timers.push(clock.timer(graceMs, () => end('timeout')))),
      );
    if (kind === 'hangs' || kind === 'silent') return;
    const takesMs = kind === 'quick' ? random.between(1, 300) : random.between(0, 1.2 * request.timeoutMs);
    timers.push(clock.timer(takesMs, () => end(kind === 'fails' ? 'exit' : 'succeeded')));
  });
}

const KINDS = ['quick', 'quick', 'quick', 'quick', 'slow', 'slow', 'fails', 'hangs', 'silent'] as const;
