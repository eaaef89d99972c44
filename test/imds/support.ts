import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';

import { type Clock, systemClock } from '../../src/base/clock.ts';
import { createScheduledEventsClient, type ScheduledEventsClient } from '../../src/imds/scheduled-events.ts';

export interface RawServer extends AsyncDisposable {
  readonly url: string;
  /** Requests as they came in. */
  readonly seen: readonly {
    readonly method: string;
    readonly path: string;
    readonly headers: IncomingMessage['headers'];
  }[];
}

/** A server that misbehaves exactly as the test says. */
export async function startRawServer(
  answer: (request: IncomingMessage, response: ServerResponse, number: number) => void,
): Promise<RawServer> {
  const seen: { method: string; path: string; headers: IncomingMessage['headers'] }[] = [];
  const listener: RequestListener = (request, response) => {
    seen.push({ method: request.method ?? '', path: request.url ?? '', headers: request.headers });
    answer(request, response, seen.length);
  };
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return {
    url: `http://127.0.0.1:${port}`,
    seen,
    async [Symbol.asyncDispose]() {
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
    },
  };
}

export function startClient(
  endpoint: string,
  options: { apiVersion?: string; responseBytesMax?: number } = {},
  clock = systemClock,
): ScheduledEventsClient & AsyncDisposable {
  const client = createScheduledEventsClient({ endpoint, apiVersion: '2020-07-01', ...options }, { clock });
  return { ...client, [Symbol.asyncDispose]: () => client.close() };
}

/** The bound of every wait in these tests. */
export function deadline(): AbortSignal {
  return AbortSignal.timeout(10_000);
}

export const EMPTY_DOCUMENT = JSON.stringify({ DocumentIncarnation: 1, Events: [] });

export interface ManualClock extends Clock {
  /** Fires every timer that falls due on the way, in order, and lets promises settle after each. */
  advance(ms: number): Promise<void>;
}

export function manualClock(): ManualClock {
  let now = 0;
  const timers = new Set<{ readonly at: number; readonly fire: () => void }>();
  return {
    monotonicMs: () => now,
    wallMs: () => now,
    timer(delayMs, fire) {
      const timer = { at: now + Math.max(delayMs, 0), fire };
      timers.add(timer);
      return { [Symbol.dispose]: () => timers.delete(timer) };
    },
    async advance(ms) {
      const end = now + ms;
      for (;;) {
        const [next] = [...timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at);
        if (next === undefined) break;
        timers.delete(next);
        now = next.at;
        next.fire();
        await settled();
      }
      now = end;
      await settled();
    },
  };
}

/** Promise reactions run before the next turn of the event loop. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
