import { once } from 'node:events';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { type IncomingMessage, request } from 'node:http';
import { type Socket, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect, onTestFinished, test } from 'vitest';

import { askDaemon } from '../../src/control/client.ts';
import { readEvents } from '../../src/control/event-stream.ts';
import { ownersSocket } from '../../src/control/protocol.ts';
import { startIdleControl } from '../support/idle-control.ts';

/** Streams of one share, and connections of one socket. */
const STREAMS_MAX = 128;
const CONNECTIONS_MAX = 192;

async function serve(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'evictd-crowd-'));
  const socket = join(folder, 'evictd.sock');
  const server = await startIdleControl(socket);
  onTestFinished(async () => {
    await server.close();
    await rm(folder, { recursive: true });
  });
  return socket;
}

/** Connections that say `text` and are opened anew, as soon as they are closed, until the test is over. */
async function hold(socket: string, text: string, count: number): Promise<void> {
  const open = new Set<Socket>();
  let isOver = false;
  onTestFinished(() => {
    isOver = true;
    for (const connection of open) connection.destroy();
  });
  const openOne = () => {
    const connection = connect(socket);
    open.add(connection);
    connection.on('error', () => undefined).on('data', () => undefined);
    connection.once('connect', () => connection.write(text));
    connection.once('close', () => {
      open.delete(connection);
      if (!isOver) void openOne();
    });
    return once(connection, 'connect');
  };
  await Promise.all(Array.from({ length: count }, openOne));
}

/** As a member of the group asks, who can't use the owner's socket. */
async function askAsMember(socket: string, path: string): Promise<number | undefined> {
  const outgoing = request({ socketPath: socket, path, agent: false }).end();
  const [answer] = (await once(outgoing, 'response')) as [IncomingMessage];
  answer.destroy();
  return answer.statusCode;
}

const within = () => AbortSignal.timeout(8000);

test('the owner has a socket that nobody else may use, and the commands use it', async () => {
  const socket = await serve();
  expect((await stat(ownersSocket(socket))).mode & 0o777).toBe(0o600);
  await rm(socket);
  const ask = { timeoutMs: 5000, signal: within() };
  expect(await askDaemon(socket, 'GET', '/v1/status', ask)).toEqual({ phase: 'watching' });
});

test('who holds all connections and streams of the group keeps out neither root nor a short question', async () => {
  const socket = await serve();
  await hold(socket, 'GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n', STREAMS_MAX);
  await expect.poll(() => askAsMember(socket, '/v1/events')).toBe(503);
  await hold(socket, 'GET /v1/status HTTP/1.1\r\n', CONNECTIONS_MAX);
  for (let times = 0; times < 20; times++) expect(await askAsMember(socket, '/v1/status')).toBe(200);
  expect(await askDaemon(socket, 'GET', '/v1/status', { timeoutMs: 5000, signal: within() })).toEqual({
    phase: 'watching',
  });
  for await (const { event } of readEvents(socket, { method: 'GET', path: '/v1/events' }, within())) {
    expect(event).toBe('hello');
    break;
  }
});
