import { setMaxListeners } from 'node:events';

import type { Clock } from './clock.ts';
import { EvictdError } from './errors.ts';

/** A signal that ends with its parent or after its own time, whichever is first; dispose it to free both. */
export interface BoundedSignal extends Disposable {
  readonly signal: AbortSignal;
}

/**
 * A signal of its own with a bound in milliseconds, under an optional parent.
 * Unlike `AbortSignal.any` it leaves nothing behind on the parent once disposed.
 */
export function boundedSignal(clock: Clock, limitMs: number, parent?: AbortSignal): BoundedSignal {
  const controller = new AbortController();
  // Much is sent under one signal; the default of 10 listeners would only print a warning.
  setMaxListeners(0, controller.signal);
  const onParent = () => controller.abort(parent?.reason);
  if (parent?.aborted === true) onParent();
  else parent?.addEventListener('abort', onParent, { once: true });
  const timer = clock.timer(limitMs, () =>
    controller.abort(new EvictdError('timeout', `no result within ${Math.round(limitMs)} ms`)),
  );
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      timer[Symbol.dispose]();
      parent?.removeEventListener('abort', onParent);
    },
  };
}

/** A controller that ends with its parent, or by itself; dispose it to leave nothing behind on the parent. */
export function childController(parent: AbortSignal): AbortController & Disposable {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal);
  const onParent = () => controller.abort(parent.reason);
  if (parent.aborted) onParent();
  else parent.addEventListener('abort', onParent, { once: true });
  return Object.assign(controller, {
    [Symbol.dispose]: () => parent.removeEventListener('abort', onParent),
  });
}

/** Resolves after `delayMs`; rejects with the signal's reason as soon as it is aborted. */
export function sleep(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(reasonOf(signal));
      return;
    }
    const onAbort = () => {
      timer[Symbol.dispose]();
      reject(reasonOf(signal));
    };
    const timer = clock.timer(delayMs, () => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    });
    signal.addEventListener('abort', onAbort, { once: true });
  });
}

/**
 * Settles with `work`, or rejects with the signal's reason when that comes first.
 * Only for work that can't be stopped (the Azure SDK's token fetch ignores its signal); the loser goes on unseen.
 */
export function abandonOn<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(reasonOf(signal));
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

/** What a signal was aborted for, to be thrown. */
export function reasonOf(signal: AbortSignal): Error {
  return signal.reason instanceof Error ? signal.reason : new EvictdError('aborted', String(signal.reason));
}
