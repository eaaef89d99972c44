import { onTestFinished } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import { askDaemon } from '../../src/control/client.ts';
import { type StreamEvent, readEvents } from '../../src/control/event-stream.ts';
import { Run } from '../../src/control/protocol.ts';

const LIMIT_MS = 20_000;

/** A program that listens to the daemon's events. */
export interface ControlClient {
  readonly events: readonly StreamEvent[];
  /** The first event of this name that `fits`, also an earlier one. */
  event(name: string, fits?: (data: unknown) => boolean): Promise<StreamEvent>;
  /** The connection goes away, as when the program dies. */
  die(): void;
  /** Resolves with why the stream has ended. */
  readonly ended: Promise<unknown>;
}

/** Listens; with a registration it also has a hook, and `work` is called for each run. */
export function connectClient(
  socket: string,
  registration?: Readonly<Record<string, unknown>>,
  work: (run: Run) => void = () => undefined,
): ControlClient {
  const events: StreamEvent[] = [];
  const abort = new AbortController();
  const watchers = new Set<() => void>();
  onTestFinished(() => abort.abort());
  const ask =
    registration === undefined
      ? ({ method: 'GET', path: '/v1/events' } as const)
      : ({ method: 'POST', path: '/v1/hooks', body: registration } as const);
  const read = async () => {
    for await (const event of readEvents(socket, ask, abort.signal)) {
      events.push(event);
      for (const watcher of watchers) watcher();
      if (event.event === 'run') work(Run.parse(event.data));
    }
  };
  const ended = read().catch((error: unknown) => error);
  return {
    events,
    async event(name, fits = () => true) {
      const found = Promise.withResolvers<StreamEvent>();
      const look = () => {
        const event = events.find((one) => one.event === name && fits(one.data));
        if (event !== undefined) found.resolve(event);
      };
      const fail = (why: unknown) =>
        found.reject(new Error(`no ${name} in ${JSON.stringify(events)}`, { cause: why }));
      using timer = systemClock.timer(LIMIT_MS, () => fail('late'));
      void timer;
      watchers.add(look);
      void ended.then(fail);
      look();
      try {
        return await found.promise;
      } finally {
        watchers.delete(look);
      }
    },
    die: () => abort.abort(),
    ended,
  };
}

export function answerRun(socket: string, runId: string, done: unknown): Promise<unknown> {
  const options = { body: done, timeoutMs: 5000, signal: AbortSignal.timeout(8000) };
  return askDaemon(socket, 'POST', `/v1/hooks/${runId}/done`, options);
}
