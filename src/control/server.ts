import { once } from 'node:events';
import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http';

import { boundConnections } from '../base/connections.ts';
import { EvictdError, messageOf } from '../base/errors.ts';
import type { EventHub, EventStream, Share } from './event-hub.ts';
import { type ListenOptions, listen } from './listen.ts';
import {
  CheckpointRequest,
  Done,
  type Hello,
  type Registered,
  Registration,
  SOCKET_PATH_BYTES_MAX,
  ownersSocket,
  parseBody,
} from './protocol.ts';

/** What the daemon answers to requests on its socket. Each may throw or reject with an EvictdError. */
export interface ControlHandlers {
  status(): unknown;
  /** Commits a checkpoint of one set, or of all when it names none. */
  checkpoint(order: CheckpointOrder, signal: AbortSignal): Promise<unknown>;
  hello(): Hello;
  /** The hook is there for as long as the stream. */
  register(registration: Registration, stream: EventStream): Registered;
  done(runId: string, answer: Done): void;
}

export interface CheckpointOrder extends CheckpointRequest {
  /** It didn't come over the owner's socket. */
  readonly isGuest: boolean;
}

export interface ControlServer {
  close(): Promise<void>;
}

const REQUEST_BYTES_MAX = 64 * 1024;
/** Of each socket; more than there may be event streams, so that there is always room for a question. */
const CONNECTIONS_MAX = 192;
/**
 * Clients that are slow to ask must not keep others out for long. Node looks for them only every so often, and wakes the
 * daemon for that also while there is none.
 */
const TIMEOUTS = { headersTimeout: 2000, requestTimeout: 5000, connectionsCheckingInterval: 10_000 };

/**
 * HTTP/JSON on a Unix socket; packaging/docs/control-socket.md is its description for clients. Beside it, with a share of
 * its own of connections and streams, is one for the owner alone (see `ownersSocket`): members of the group can keep each
 * other out, but not root.
 * Errors are `{"error": {"code", "message", "remedy"}}`.
 * Rejects `control-unusable` when a socket can't be made, `already-running` when another daemon answers on it.
 */
export async function startControlServer(
  { socket, group }: Required<ListenOptions>,
  handlers: ControlHandlers,
  hub: EventHub,
): Promise<ControlServer> {
  const servers = [await serve({ socket, group }, handlers, hub.share({ isOwner: false }))];
  const close = async () => {
    hub.close();
    await Promise.all(
      servers.map((server) => {
        const closed = once(server, 'close');
        server.close();
        server.closeAllConnections();
        return closed;
      }),
    );
  };
  const owners = ownersSocket(socket);
  if (Buffer.byteLength(owners) > SOCKET_PATH_BYTES_MAX) return { close };
  try {
    servers.push(await serve({ socket: owners, group: undefined }, handlers, hub.share({ isOwner: true })));
  } catch (error) {
    await close();
    throw error;
  }
  return { close };
}

async function serve(options: ListenOptions, handlers: ControlHandlers, share: Share): Promise<Server> {
  const server = createServer(TIMEOUTS, (request, response) => {
    answer(request, response, handlers, share).catch((error: unknown) => {
      sendError(response, 500, new EvictdError('internal', messageOf(error)));
    });
  });
  boundConnections(server, CONNECTIONS_MAX);
  await listen(server, options);
  // A connection that can't be accepted (no file descriptor left) is its client's trouble, who sees it end.
  server.on('error', () => undefined);
  return server;
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  handlers: ControlHandlers,
  share: Share,
): Promise<void> {
  const route = `${request.method ?? ''} ${request.url ?? ''}`;
  const runId = /^POST \/v1\/hooks\/([^/?]+)\/done$/.exec(route)?.[1];
  try {
    if (route === 'GET /v1/status') sendJson(response, 200, handlers.status());
    else if (route === 'GET /v1/events') openStream(response, handlers.hello(), share);
    else if (route === 'POST /v1/checkpoint') {
      const gone = new AbortController();
      response.once('close', () => gone.abort());
      const wanted = parseBody(CheckpointRequest, await readJson(request));
      const order = { ...wanted, isGuest: !share.isOwner };
      sendJson(response, 200, await handlers.checkpoint(order, gone.signal));
    } else if (route === 'POST /v1/hooks') {
      const registration = parseBody(Registration, await readJson(request));
      openHookStream(response, registration, handlers, share);
    } else if (runId !== undefined) {
      handlers.done(runId, parseBody(Done, await readJson(request)));
      sendJson(response, 200, {});
    } else {
      throw new EvictdError('no-such-path', `no ${route.slice(0, 200)} here`, {
        remedy:
          'known are GET /v1/status, GET /v1/events, POST /v1/checkpoint, POST /v1/hooks and POST /v1/hooks/ID/done',
      });
    }
  } catch (error) {
    if (!(error instanceof EvictdError)) throw error;
    sendError(response, STATUS_BY_CODE.get(error.code) ?? 409, error);
  }
}

const STATUS_BY_CODE: ReadonlyMap<string, number> = new Map([
  ['bad-request', 400],
  ['no-such-path', 404],
  ['too-many', 503],
]);

function openStream(response: ServerResponse, hello: Hello, share: Share): void {
  share.open(response).send('hello', hello);
}

function openHookStream(
  response: ServerResponse,
  registration: Registration,
  handlers: ControlHandlers,
  share: Share,
): void {
  const hello = handlers.hello();
  // Who has gone meanwhile would stay registered: the end of its stream has already been.
  if (response.destroyed) return;
  const stream = share.open(response);
  const registered = handlers.register(registration, stream);
  stream.send('hello', hello);
  stream.send('registered', registered);
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  // Without an encoding set, the stream's chunks are buffers.
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > REQUEST_BYTES_MAX) {
      throw new EvictdError('bad-request', `the body is larger than ${REQUEST_BYTES_MAX} bytes`);
    }
    chunks.push(chunk);
  }
  const text = Buffer.concat(chunks).toString('utf8');
  try {
    return text.trim() === '' ? {} : (JSON.parse(text) as unknown);
  } catch (error) {
    throw new EvictdError('bad-request', `the body is not JSON: ${messageOf(error)}`);
  }
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  if (response.headersSent || response.destroyed) return;
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(`${JSON.stringify(body)}\n`);
}

function sendError(response: ServerResponse, status: number, error: EvictdError): void {
  const { code, message, remedy } = error;
  sendJson(response, status, { error: { code, message, remedy } });
}
