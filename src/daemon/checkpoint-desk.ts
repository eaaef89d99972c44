import { abandonOn } from '../base/abort.ts';
import { EvictdError } from '../base/errors.ts';
import type { CheckpointPort, CommitRequest, CommitResult } from '../core/ports.ts';

type Commit = CheckpointPort['commit'];

interface Order {
  readonly result: Promise<CommitResult>;
  readonly over: AbortController;
  askers: number;
}

/**
 * Commits as they are asked for over the socket. Whoever asks while an equal one waits for its turn has the answer of that:
 * so not more than one of a kind waits, however many ask. It is given up once nobody waits for it any more.
 */
export function createCheckpointDesk(commit: Commit): Commit {
  const running = new Map<string, Promise<unknown>>();
  const waiting = new Map<string, Order>();
  const begin = (key: string, request: CommitRequest): Order => {
    const over = new AbortController();
    const run = async () => {
      await running.get(key)?.catch(() => undefined);
      over.signal.throwIfAborted();
      waiting.delete(key);
      const committed = commit(request, over.signal);
      running.set(key, committed);
      return await committed;
    };
    const order: Order = { result: run(), over, askers: 0 };
    // Nobody may be left to hear of it.
    order.result.catch(() => undefined);
    waiting.set(key, order);
    return order;
  };
  return async (request, signal) => {
    const key = `${request.set}/${request.takeOver === true}/${request.isGuest === true}`;
    const order = waiting.get(key) ?? begin(key, request);
    order.askers++;
    try {
      return await abandonOn(signal, order.result);
    } finally {
      if (--order.askers === 0) {
        if (waiting.get(key) === order) waiting.delete(key);
        order.over.abort(new EvictdError('aborted', 'nobody waits for the checkpoint any more'));
      }
    }
  };
}
