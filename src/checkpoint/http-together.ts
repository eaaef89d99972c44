import { reasonOf } from '../base/abort.ts';
import type { HttpOrder } from '../base/http-order.ts';
import type { HttpSender, SentAnswer } from './http-sender.ts';

/** Requests that were given to a sending thread together. */
export interface SentTogether {
  /** Resolves when each of them has ended. */
  readonly all: Promise<void>;
  /** How the one at `index` has ended; undefined: it hasn't. */
  ended(index: number): SentAnswer | Error | undefined;
  /** Its answer. Withdraws it at the abort of `signal`, and rejects as HttpSender.send when it has ended. */
  answer(index: number, signal: AbortSignal): Promise<SentAnswer>;
}

/** At the abort of `signal` all are withdrawn. */
export function sendTogether(
  sender: Pick<HttpSender, 'give'>,
  orders: readonly HttpOrder[],
  signal: AbortSignal,
): SentTogether {
  const ends: (SentAnswer | Error | undefined)[] = orders.map(() => undefined);
  const waiting = new Map<number, () => void>();
  const { promise: all, resolve } = Promise.withResolvers<void>();
  let open = orders.length;
  const withdraw = sender.give(orders, (index, end) => {
    ends[index] = end;
    waiting.get(index)?.();
    if (--open > 0) return;
    signal.removeEventListener('abort', withdrawAll);
    resolve();
  });
  const withdrawAll = () => {
    for (const [index, end] of ends.entries()) if (end === undefined) withdraw(index);
  };
  if (signal.aborted) withdrawAll();
  else signal.addEventListener('abort', withdrawAll, { once: true });
  return {
    all,
    ended: (index) => ends[index],
    async answer(index, own) {
      if (ends[index] === undefined) {
        const onAbort = () => withdraw(index);
        if (own.aborted) onAbort();
        else own.addEventListener('abort', onAbort, { once: true });
        await new Promise<void>((onEnd) => waiting.set(index, onEnd));
        own.removeEventListener('abort', onAbort);
      }
      const end = ends[index];
      if (end === undefined || own.aborted) throw reasonOf(own);
      if (end instanceof Error) throw end;
      return end;
    },
  };
}
