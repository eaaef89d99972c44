import { type IncomingMessage, type Server, createServer } from 'node:http';

import { sleep } from '../base/abort.ts';
import { boundConnections } from '../base/connections.ts';
import type { Clock } from '../base/clock.ts';
import { EvictdError, messageOf } from '../base/errors.ts';

export interface Address {
  readonly host: string;
  readonly port: number;
}

export interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

export interface ListenerDependencies {
  readonly clock: Clock;
  readonly onListening: (port: number) => void;
  /** Once per reason; it is tried again. */
  readonly onProblem: (error: EvictdError) => void;
}

const RETRY_MS = 10_000;
const CONNECTIONS_MAX = 32;
/** Whoever asks is a scraper or a probe: one short request, one short answer. */
const LIMITS = {
  headersTimeout: 2000,
  requestTimeout: 2000,
  keepAliveTimeout: 65_000,
  // A timer that runs while nobody asks, too.
  connectionsCheckingInterval: 10_000,
  maxHeaderSize: 8192,
};

/**
 * Serves one page over HTTP for as long as it isn't closed. An address that can't be had (`listen-failed`) is tried
 * again: a daemon must not miss an eviction because a port is taken.
 */
export function startHttpListener(
  options: { readonly key: string; readonly listen: Address; readonly paths: readonly string[] },
  page: () => Answer | Promise<Answer>,
  dependencies: ListenerDependencies,
): AsyncDisposable {
  const stopping = new AbortController();
  let server: Server | undefined;

  async function keepListening(): Promise<void> {
    for (let told: string | undefined; ;) {
      const next = createServer(LIMITS, (request, response) => {
        void answer(request, options.paths, page).then(({ status, contentType, body }) => {
          response.writeHead(status, { 'content-type': contentType, 'cache-control': 'no-store' });
          response.end(request.method === 'HEAD' ? undefined : body);
        });
      });
      boundConnections(next, CONNECTIONS_MAX);
      try {
        const port = await listen(next, options.listen);
        if (stopping.signal.aborted) return void next.close();
        server = next;
        return dependencies.onListening(port);
      } catch (error) {
        const problem = listenFailed(options.key, options.listen, error);
        if (problem.message !== told) dependencies.onProblem(problem);
        told = problem.message;
      }
      await sleep(dependencies.clock, RETRY_MS, stopping.signal);
    }
  }

  // Rejects only when it is stopped before it ever listened.
  const listening = keepListening().catch(() => undefined);
  return {
    async [Symbol.asyncDispose]() {
      stopping.abort();
      await listening;
      const open = server;
      if (open === undefined) return;
      await new Promise((resolve) => {
        open.close(resolve);
        open.closeAllConnections();
      });
    },
  };
}

async function answer(
  request: IncomingMessage,
  paths: readonly string[],
  page: () => Answer | Promise<Answer>,
): Promise<Answer> {
  const plain = (status: number, body: string): Answer => ({ status, contentType: 'text/plain', body });
  // Null for what is no URL, such as `//`, which anybody may send.
  const asked = URL.parse(request.url ?? '/', 'http://evictd');
  if (asked === null || !paths.includes(asked.pathname))
    return plain(404, `not here: ask for ${paths.join(' or ')}\n`);
  if (request.method !== 'GET' && request.method !== 'HEAD') return plain(405, 'only GET and HEAD\n');
  try {
    return await page();
  } catch (error) {
    return plain(500, `${messageOf(error)}\n`);
  }
}

function listen(server: Server, { host, port }: Address): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      // A connection that can't be accepted (no file descriptor left) is its client's trouble.
      server.on('error', () => undefined);
      const address = server.address();
      resolve(typeof address === 'object' && address !== null ? address.port : port);
    });
  });
}

function listenFailed(key: string, { host, port }: Address, error: unknown): EvictdError {
  const message = `${key}: can't listen on ${host}:${port}: ${messageOf(error)}`;
  return new EvictdError('listen-failed', message, {
    remedy: `free the port, or set ${key} to another one; it is tried again every ${RETRY_MS / 1000} s`,
    cause: error,
  });
}
