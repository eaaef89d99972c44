import { reasonOf } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { createRequestRoom, STALLED_MS } from './request-room.ts';

/** Lets out as many requests at once as there is room for. */
export interface RequestWindow {
  /**
   * Runs `request` when there is room for it; `isRefused` tells answers of a server that has too much to do.
   * Rejects with the signal's reason when that comes first.
   */
  run<T>(signal: AbortSignal, request: () => Promise<T>, isRefused?: (answer: T) => boolean): Promise<T>;
}

/*
 * INVARIANTS
 * - Never more than `roomMax` requests under way, stalled ones aside; who waits gets in in the order of asking.
 */
export function createRequestWindow(
  options: { readonly roomMax: number },
  dependencies: { readonly clock: Clock },
): RequestWindow {
  const { clock } = dependencies;
  const waiting: (() => void)[] = [];
  const room = createRequestRoom(options, dependencies);
  let inside = 0;

  const admit = () => {
    while (inside < room.size && waiting.length > 0) {
      inside++;
      waiting.shift()?.();
    }
  };
  const enter = (signal: AbortSignal): Promise<void> => {
    if (signal.aborted) return Promise.reject(reasonOf(signal));
    if (inside < room.size) {
      inside++;
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        waiting.splice(waiting.indexOf(onRoom), 1);
        reject(reasonOf(signal));
      };
      const onRoom = () => {
        signal.removeEventListener('abort', onAbort);
        resolve();
      };
      waiting.push(onRoom);
      signal.addEventListener('abort', onAbort, { once: true });
    });
  };

  return {
    async run(signal, request, isRefused = () => false) {
      await enter(signal);
      const startedAt = clock.monotonicMs();
      let isInside = true;
      const leave = () => {
        if (!isInside) return;
        isInside = false;
        inside--;
        admit();
      };
      using _stalled = clock.timer(STALLED_MS, leave);
      try {
        const answer = await request();
        if (isRefused(answer)) room.shrink(startedAt);
        else room.noteAnswer(clock.monotonicMs() - startedAt, waiting.length > 0);
        return answer;
      } finally {
        leave();
      }
    },
  };
}
