import { createServer, request as forward, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface ProxiedRequest {
  readonly method: string;
  /** Still encoded. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** Size of the request's body. */
  readonly bytes: number;
  /** What the client got; undefined when it got no answer (yet). */
  status: number | undefined;
}

export type Fault =
  /** Answers without asking the target. */
  | {
      readonly kind: 'status';
      readonly status: number;
      readonly headers?: Record<string, string>;
      readonly body?: string;
    }
  /** Closes the connection before the request reaches the target. */
  | { readonly kind: 'reset' }
  /** Never answers, and the target never sees the request. */
  | { readonly kind: 'hang' }
  /** The target does what was asked, then the connection is closed instead of an answer. */
  | { readonly kind: 'drop-answer' }
  /** The target does what was asked, but the answer never comes. */
  | { readonly kind: 'hang-answer' }
  /** Head and half of the answer's body, then the connection is closed. */
  | { readonly kind: 'cut-answer' };

export interface FaultRule {
  readonly fault: Fault;
  /** Default: every request. */
  readonly match?: (request: ProxiedRequest) => boolean;
  /** How many matching requests it hits; default 1. */
  readonly times?: number;
}

/** A counting, fault-injecting HTTP proxy before a blob service. */
export interface BlobProxy extends AsyncDisposable {
  /** The target's URL with the proxy's port. */
  readonly url: string;
  /** Everything since the start or the last `reset`, in order of arrival. */
  readonly requests: readonly ProxiedRequest[];
  /** Faults apply in the order of the rules; a used-up rule is gone. */
  fail(rule: FaultRule): void;
  /** Forgets requests and rules. */
  reset(): void;
  /** Ends all connections: what a process that is dead by now had still on its way doesn't arrive later. */
  dropClients(): void;
  /** Settles when `count` requests that match have arrived. */
  arrived(match: (request: ProxiedRequest) => boolean, count?: number): Promise<void>;
  close(): Promise<void>;
}

/** `match` for the operations of the Blob service. */
export const operations = {
  put: (request: ProxiedRequest) =>
    request.method === 'PUT' && !request.query.has('comp') && !request.query.has('restype'),
  head: (request: ProxiedRequest) => request.method === 'HEAD',
  read: (request: ProxiedRequest) => request.method === 'GET' && !request.query.has('comp'),
  list: (request: ProxiedRequest) => request.query.get('comp') === 'list',
} as const;

/**
 * Starts a proxy on 127.0.0.1. Shared-key signatures don't cover the host, so a path-style URL with its port works.
 * `targetUrl` is plain http.
 */
export async function createBlobProxy(targetUrl: string): Promise<BlobProxy> {
  const target = new URL(targetUrl);
  const requests: ProxiedRequest[] = [];
  let rules: { rule: FaultRule; left: number }[] = [];
  let watchers: (() => void)[] = [];

  function faultFor(request: ProxiedRequest): Fault | undefined {
    const hit = rules.find(({ rule }) => rule.match?.(request) ?? true);
    if (hit === undefined) return undefined;
    hit.left--;
    rules = rules.filter(({ left }) => left > 0);
    return hit.rule.fault;
  }

  async function serve(incoming: IncomingMessage, answer: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    // No encoding is set, so chunks are buffers.
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    const url = new URL(incoming.url ?? '/', target);
    const seen: ProxiedRequest = {
      method: incoming.method ?? '',
      path: url.pathname,
      query: url.searchParams,
      headers: incoming.headers,
      bytes: body.length,
      status: undefined,
    };
    requests.push(seen);
    for (const watcher of watchers) watcher();
    await respond({ incoming, answer, seen, body, target, fault: faultFor(seen) });
  }

  const server = createServer((incoming, answer) => {
    // A client that goes away in the middle is what some tests are about.
    serve(incoming, answer).catch(() => answer.destroy());
  });
  server.keepAliveTimeout = 60_000;
  server.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  // A server that listens on a TCP port has an AddressInfo.
  const { port } = server.address() as AddressInfo;
  const proxied = new URL(targetUrl);
  proxied.port = String(port);
  const close = async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  return {
    url: proxied.href.replace(/\/$/, ''),
    requests,
    fail: (rule) => void rules.push({ rule, left: rule.times ?? 1 }),
    reset() {
      requests.length = 0;
      rules = [];
    },
    dropClients: () => server.closeAllConnections(),
    arrived(match, count = 1) {
      return new Promise((resolve) => {
        const check = () => {
          if (requests.filter(match).length < count) return;
          watchers = watchers.filter((watcher) => watcher !== check);
          resolve();
        };
        watchers.push(check);
        check();
      });
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

interface Exchange {
  readonly incoming: IncomingMessage;
  readonly answer: ServerResponse;
  readonly seen: ProxiedRequest;
  readonly body: Buffer;
  readonly target: URL;
  readonly fault: Fault | undefined;
}

async function respond(exchange: Exchange): Promise<void> {
  const { answer, seen, fault } = exchange;
  switch (fault?.kind) {
    case 'reset':
      answer.socket?.resetAndDestroy();
      return;
    case 'hang':
      return;
    case 'status':
      seen.status = fault.status;
      answer.writeHead(fault.status, fault.headers ?? {}).end(fault.body ?? '');
      return;
    case 'drop-answer':
    case 'hang-answer':
    case 'cut-answer':
    case undefined:
      break;
  }
  const { status, headers, body } = await ask(exchange);
  if (fault?.kind === 'hang-answer') return;
  if (fault?.kind === 'drop-answer') {
    answer.socket?.resetAndDestroy();
    return;
  }
  seen.status = status;
  answer.writeHead(status, headers);
  if (fault?.kind !== 'cut-answer') {
    answer.end(body);
    return;
  }
  await new Promise((resolve) => answer.write(body.subarray(0, body.length / 2), resolve));
  answer.socket?.destroy();
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
}

function ask({ incoming, body, target }: Exchange): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = forward(
      {
        host: target.hostname,
        port: target.port,
        method: incoming.method,
        path: incoming.url,
        headers: incoming.headers,
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          const { 'transfer-encoding': _, ...headers } = response.headers;
          resolve({ status: response.statusCode ?? 502, headers, body: Buffer.concat(chunks) });
        });
      },
    );
    request.on('error', reject);
    request.end(body);
  });
}
