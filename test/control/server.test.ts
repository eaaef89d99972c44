import { link, mkdtemp, rename, rm, stat, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import type { Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { describe, expect, it, onTestFinished } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import { EvictdError } from '../../src/base/errors.ts';
import { askDaemon } from '../../src/control/client.ts';
import { createEventHub } from '../../src/control/event-hub.ts';
import type { ControlHandlers, ControlServer } from '../../src/control/server.ts';
import { startControlServer } from '../../src/control/server.ts';

const HANDLERS: ControlHandlers = {
  status: () => ({ phase: 'watching' }),
  checkpoint: async ({ set, takeOver }) => ({ sets: [set ?? 'all'], takeOver }),
  hello: () => ({ version: 1, evictdVersion: '1', phase: 'watching' }),
  register: ({ name }) => ({ name }),
  done: () => undefined,
};

function start(socket: string, handlers: Partial<ControlHandlers> = {}): Promise<ControlServer> {
  const options = { socket, group: 'no-such-group' };
  return startControlServer(options, { ...HANDLERS, ...handlers }, createEventHub({ clock: systemClock }));
}

async function socketPath(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'evictd-control-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return join(folder, 'evictd.sock');
}

async function serve(
  handlers: Partial<ControlHandlers> = {},
): Promise<{ socket: string; server: ControlServer }> {
  const socket = await socketPath();
  const server = await start(socket, handlers);
  onTestFinished(() => server.close());
  return { socket, server };
}

function ask(socket: string, method: 'GET' | 'POST', path: string, body?: unknown): Promise<unknown> {
  return askDaemon(socket, method, path, { body, timeoutMs: 5000, signal: AbortSignal.timeout(8000) });
}

/** What a client that isn't ours gets: status and body. */
function post(socket: string, body: string | Buffer, chunked = false): Promise<[number, string]> {
  return new Promise((resolve, reject) => {
    const headers = chunked
      ? { 'transfer-encoding': 'chunked' }
      : { 'content-length': Buffer.byteLength(body) };
    const outgoing = request(
      { socketPath: socket, method: 'POST', path: '/v1/checkpoint', headers, timeout: 8000 },
      (answer) => {
        let text = '';
        answer.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
        answer.on('end', () => resolve([answer.statusCode ?? 0, text]));
      },
    );
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

/** Connects and sends a text; resolves with all that comes until the other side ends it. */
function talk(socket: string, text: string): { connection: Socket; ended: Promise<string> } {
  const connection = connect(socket, () => connection.write(text));
  onTestFinished(() => void connection.destroy());
  let got = '';
  connection.setEncoding('utf8').on('data', (chunk: string) => (got += chunk));
  const ended = new Promise<string>((resolve) => connection.once('close', () => resolve(got)));
  connection.on('error', () => undefined);
  return { connection, ended };
}

describe('the control socket', () => {
  it('is for its owner and its group', async () => {
    const { socket } = await serve();
    const { mode } = await stat(socket);
    expect(mode & 0o777).toBe(0o660);
  });

  it('answers what the daemon knows and takes checkpoints', async () => {
    const { socket } = await serve();
    expect(await ask(socket, 'GET', '/v1/status')).toEqual({ phase: 'watching' });
    const ordinary = { takeOver: false };
    expect(await ask(socket, 'POST', '/v1/checkpoint', { set: 'job' })).toEqual({
      sets: ['job'],
      ...ordinary,
    });
    expect(await ask(socket, 'POST', '/v1/checkpoint', {})).toEqual({ sets: ['all'], ...ordinary });
    expect(await ask(socket, 'POST', '/v1/checkpoint', { takeOver: true })).toMatchObject({ takeOver: true });
    expect(await post(socket, '')).toEqual([200, '{"sets":["all"],"takeOver":false}\n']);
  });

  it('passes on why something was refused, with the remedy', async () => {
    const refusal = new EvictdError('no-such-set', 'there is no set "x"', { remedy: 'the config has job' });
    const { socket } = await serve({ checkpoint: () => Promise.reject(refusal) });
    await expect(ask(socket, 'POST', '/v1/checkpoint', { set: 'x' })).rejects.toMatchObject({
      code: 'no-such-set',
      message: 'there is no set "x"',
      remedy: 'the config has job',
    });
  });

  it('survives a handler with a defect', async () => {
    const { socket } = await serve({
      status: () => {
        throw new TypeError('a defect');
      },
    });
    await expect(ask(socket, 'GET', '/v1/status')).rejects.toMatchObject({ code: 'internal' });
    expect(await ask(socket, 'POST', '/v1/checkpoint', {})).toMatchObject({ sets: ['all'] });
  });

  const bad: [string, string | Buffer, RegExp][] = [
    ['no JSON', '{set:', /not JSON/],
    ['no object', '[]', /the body: .*expected object/],
    ['null', 'null', /the body: .*expected object/],
    ['an unknown key', '{"sets":"job"}', /"sets"/],
    ['a set that is no text', '{"set":1}', /^set: .*string/],
    ['not UTF-8', Buffer.from([0xff, 0xfe, 0x00]), /not JSON/],
  ];
  it.for(bad)('says what is wrong with a body: %s', async ([, body, message]) => {
    const { socket } = await serve();
    const [status, text] = await post(socket, body);
    expect(status).toBe(400);
    expect(JSON.parse(text)).toMatchObject({
      error: { code: 'bad-request', message: expect.stringMatching(message) },
    });
  });

  it.for([true, false])('says that a body is too large, and goes on (chunked: %s)', async (chunked) => {
    const { socket } = await serve();
    const [status, text] = await post(socket, 'x'.repeat(8 * 1024 * 1024), chunked);
    expect(status).toBe(400);
    expect(JSON.parse(text)).toMatchObject({ error: { message: expect.stringContaining('65536') } });
    expect(await ask(socket, 'GET', '/v1/status')).toEqual({ phase: 'watching' });
  });

  it.for(['GET /v1/nothing', 'DELETE /v1/status', 'POST /v1/status', 'GET /'])(
    'says that there is no %s',
    async (route) => {
      const { socket } = await serve();
      const { ended } = talk(socket, `${route} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`);
      const answer = await ended;
      expect(answer).toContain('404 Not Found');
      expect(answer).toContain(`no ${route} here`);
    },
  );

  it('ends clients that are slow to ask, also many at once, and serves others afterwards', async () => {
    const { socket } = await serve();
    const slow = Array.from({ length: 80 }, () => talk(socket, 'GET /v1/status HT').ended);
    await Promise.all(slow);
    expect(await ask(socket, 'GET', '/v1/status')).toEqual({ phase: 'watching' });
  });

  it('survives what is no HTTP at all', async () => {
    const { socket } = await serve();
    await talk(socket, '\u0000\u0001 not a request\r\n\r\n').ended;
    expect(await ask(socket, 'GET', '/v1/status')).toEqual({ phase: 'watching' });
  });

  it('tells the handler who is a guest: whoever does not ask over the socket of the owner', async () => {
    const { socket } = await serve({ checkpoint: async ({ isGuest }) => ({ isGuest }) });
    expect(await ask(socket, 'POST', '/v1/checkpoint')).toEqual({ isGuest: false });
    expect(await post(socket, '{}')).toEqual([200, '{"isGuest":true}\n']);
    expect((await post(socket, '{"isGuest": false}'))[0]).toBe(400);
  });

  it('tells the handler when the client has gone', async () => {
    const begun = Promise.withResolvers<void>();
    const gone = Promise.withResolvers<void>();
    const { socket } = await serve({
      checkpoint: (_, signal) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => {
            gone.resolve();
            reject(new EvictdError('aborted', 'the client has gone'));
          });
          begun.resolve();
        }),
    });
    const { connection } = talk(
      socket,
      'POST /v1/checkpoint HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}',
    );
    await begun.promise;
    connection.destroy();
    await gone.promise;
    expect(await ask(socket, 'GET', '/v1/status')).toEqual({ phase: 'watching' });
  });
});

describe('the place of the control socket', () => {
  it('is taken over from a daemon that was killed', async () => {
    const socket = await socketPath();
    // What a killed process leaves behind: a socket that nobody listens on.
    const dead = createServer();
    await new Promise<void>((resolve) => dead.listen(socket, resolve));
    await link(socket, `${socket}.kept`);
    await new Promise<void>((resolve) => dead.close(() => resolve()));
    await rename(`${socket}.kept`, socket);
    await expect(ask(socket, 'GET', '/v1/status')).rejects.toMatchObject({ code: 'not-running' });
    const server = await start(socket);
    onTestFinished(() => server.close());
    expect(await ask(socket, 'GET', '/v1/status')).toEqual({ phase: 'watching' });
  });

  it('is not taken from a daemon that lives', async () => {
    const { socket } = await serve();
    const second = start(socket);
    await expect(second).rejects.toMatchObject({
      code: 'already-running',
      message: expect.stringContaining(socket),
      remedy: expect.any(String),
    });
    expect(await ask(socket, 'GET', '/v1/status')).toEqual({ phase: 'watching' });
  });

  it('is refused when something else lies there, which is left alone', async () => {
    const socket = await socketPath();
    await writeFile(socket, 'precious');
    const started = start(socket);
    await expect(started).rejects.toMatchObject({
      code: 'control-unusable',
      remedy: expect.stringContaining('of its own'),
    });
    expect((await stat(socket)).size).toBe(8);
  });

  it('is refused in words when its folder can not be made', async () => {
    const file = await socketPath();
    await writeFile(file, '');
    const started = start(join(file, 'evictd.sock'));
    await expect(started).rejects.toMatchObject({
      code: 'control-unusable',
      message: expect.stringContaining(`${file} is no folder`),
      remedy: expect.stringContaining('control.socket'),
    });
    await expect(ask(join(file, 'evictd.sock'), 'GET', '/v1/status')).rejects.toMatchObject({
      code: 'not-running',
    });
  });

  it('is free again once the server is closed', async () => {
    const { socket, server } = await serve();
    await server.close();
    await expect(ask(socket, 'GET', '/v1/status')).rejects.toMatchObject({
      code: 'not-running',
      remedy: expect.any(String),
    });
    await expect(stat(socket)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});
