import { chmod, chown, lstat, readFile, rm } from 'node:fs/promises';
import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http';
import { connect } from 'node:net';
import path from 'node:path';

import { EvictdError, isErrno, messageOf } from '../base/errors.ts';
import { makeFolder } from '../base/folder.ts';

/** What the daemon answers to requests on its socket. Each may reject with an EvictdError. */
export interface ControlHandlers {
  status(): unknown;
  /** Commits a checkpoint of one set, or of all when `set` is undefined. */
  checkpoint(set: string | undefined, signal: AbortSignal): Promise<unknown>;
}

export interface ControlOptions {
  readonly socket: string;
  /** Name of the group that may connect besides the owner; where it doesn't exist the group stays as it is. */
  readonly group: string;
}

export interface ControlServer {
  close(): Promise<void>;
}

const REQUEST_BYTES_MAX = 64 * 1024;
const CONNECTIONS_MAX = 64;
const SOCKET_MODE = 0o660;
/** Clients that are slow to ask must not keep others out for long. Node looks at it only every so often. */
const TIMEOUTS = { headersTimeout: 2000, requestTimeout: 5000, connectionsCheckingInterval: 500 };

/**
 * HTTP/JSON on a Unix socket: `GET /v1/status`, `POST /v1/checkpoint` with `{"set": NAME}` or `{}`.
 * Errors are `{"error": {"code", "message", "remedy"}}`.
 * Rejects `control-unusable` when the socket can't be made, `already-running` when another daemon answers on it.
 */
export async function startControlServer(
  options: ControlOptions,
  handlers: ControlHandlers,
): Promise<ControlServer> {
  const server = createServer(TIMEOUTS, (request, response) => {
    answer(request, response, handlers).catch((error: unknown) => {
      sendError(response, 500, new EvictdError('internal', messageOf(error)));
    });
  });
  server.maxConnections = CONNECTIONS_MAX;
  await listen(server, options);
  // A connection that can't be accepted (no file descriptor left) is its client's trouble, who sees it end.
  server.on('error', () => undefined);
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function listen(server: Server, { socket, group }: ControlOptions): Promise<void> {
  try {
    await makeFolder(path.dirname(socket), 0o755);
    await removeStale(socket);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(socket, () => {
        server.off('error', reject);
        resolve();
      });
    });
    await chmod(socket, SOCKET_MODE);
    const gid = await groupId(group);
    // Only root may give a file to a group that it isn't in; without it the owner is the only one to connect.
    if (gid !== undefined && process.getuid?.() === 0) await chown(socket, 0, gid);
  } catch (error) {
    if (error instanceof EvictdError) throw error;
    // EEXIST: mkdir found something else where the folder should be.
    const why = isErrno(error, 'EEXIST', 'ENOTDIR')
      ? `${path.dirname(socket)} is no folder, or lies below a file`
      : messageOf(error);
    throw new EvictdError('control-unusable', `control.socket: ${socket} can't be made: ${why}`, {
      remedy: 'set control.socket to a path in a folder that the daemon may write',
      cause: error,
    });
  }
}

/** From /etc/group; undefined when there is no such group. */
async function groupId(name: string): Promise<number | undefined> {
  const lines = (await readFile('/etc/group', 'utf8').catch(() => '')).split('\n');
  const fields = lines.map((line) => line.split(':')).find(([first]) => first === name);
  return fields?.[2] === undefined ? undefined : Number(fields[2]);
}

/** The socket of a daemon that was killed is left behind; one that answers belongs to a living one. */
async function removeStale(socket: string): Promise<void> {
  try {
    const found = await lstat(socket);
    if (!found.isSocket())
      throw new EvictdError('control-unusable', `control.socket: ${socket} is there, but is not a socket`, {
        remedy: 'set control.socket to a path of its own, such as /run/evictd/evictd.sock',
      });
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return;
    throw error;
  }
  if (await answers(socket)) {
    throw new EvictdError('already-running', `another evictd answers on ${socket}`, {
      remedy: 'stop it first, or give this one its own control.socket and state.dir',
    });
  }
  await rm(socket);
}

function answers(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const connection = connect(socket);
    connection.setTimeout(1000, () => {
      connection.destroy();
      // Full backlog or a stopped process: somebody holds it.
      resolve(true);
    });
    connection.once('connect', () => {
      connection.destroy();
      resolve(true);
    });
    connection.once('error', () => resolve(false));
  });
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  handlers: ControlHandlers,
): Promise<void> {
  const route = `${request.method ?? ''} ${request.url ?? ''}`;
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  try {
    if (route === 'GET /v1/status') sendJson(response, 200, handlers.status());
    else if (route === 'POST /v1/checkpoint') {
      const set = setOf(await readJson(request));
      sendJson(response, 200, await handlers.checkpoint(set, gone.signal));
    } else {
      const remedy = 'known are GET /v1/status and POST /v1/checkpoint';
      sendError(response, 404, new EvictdError('no-such-path', `no ${route.slice(0, 200)} here`, { remedy }));
    }
  } catch (error) {
    if (error instanceof EvictdError) sendError(response, error.code === 'bad-request' ? 400 : 409, error);
    else throw error;
  }
}

function setOf(body: unknown): string | undefined {
  if (typeof body === 'object' && body !== null && !Array.isArray(body)) {
    const { set, ...others } = body as Record<string, unknown>; // an object, checked above
    const [unknown] = Object.keys(others);
    if (unknown === undefined && (set === undefined || typeof set === 'string')) return set;
  }
  throw new EvictdError('bad-request', 'the body is not {} or {"set": NAME}');
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
