import { once } from 'node:events';
import { type AddressInfo, type Socket, createServer } from 'node:net';

import { expect, test, vi } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import { type HttpClientOptions, createHttpClient } from '../../src/base/http-client.ts';

const { signal } = new AbortController();
const QUESTION = { method: 'GET', path: '/', headers: {}, bodyBytesMax: 100 };

/** Answers each request on a connection with the next of these texts, as it is; `undefined` closes it instead. */
async function startServer(...answers: readonly (string | undefined)[]) {
  const sockets = new Set<Socket>();
  let next = 0;
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('data', () => {
      const answer = answers[next++];
      if (answer === undefined) socket.destroy();
      else socket.write(answer);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    // A server that listens on a TCP port has an AddressInfo.
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    sockets,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

function clientOf(origin: string, options: Partial<HttpClientOptions> = {}) {
  const client = createHttpClient(
    { origin, connectionsMax: 2, connectMs: 5000, idleMs: 5000, ...options },
    { clock: systemClock },
  );
  return { ...client, [Symbol.dispose]: () => client.close() };
}

function answerOf(body: string): string {
  return `HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
}

test('an answer in chunks is read, and its connection is used again', async () => {
  const chunked = 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n';
  await using server = await startServer(chunked, answerOf('again'));
  using client = clientOf(server.origin);
  expect(String((await client.ask(QUESTION, signal)).body)).toBe('abcde');
  // A request right after the last byte may find the connection not yet free.
  await new Promise(setImmediate);
  expect(String((await client.ask(QUESTION, signal)).body)).toBe('again');
  expect(server.sockets.size).toBe(1);
});

test('a connection that the server closes as the next request comes is an error, and the one after it is good', async () => {
  await using server = await startServer(answerOf('1'), undefined, answerOf('2'));
  using client = clientOf(server.origin);
  await client.ask(QUESTION, signal);
  await new Promise(setImmediate);
  await expect(client.ask(QUESTION, signal)).rejects.toMatchObject({ code: 'ECONNRESET' });
  expect(String((await client.ask(QUESTION, signal)).body)).toBe('2');
});

test('an answer that ends before its end is an error', async () => {
  const half = 'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf';
  await using server = await startServer(half);
  using client = clientOf(server.origin);
  const asked = client.ask(QUESTION, signal);
  await vi.waitFor(() => expect(server.sockets.size).toBe(1));
  for (const socket of server.sockets) socket.end();
  await expect(asked).rejects.toMatchObject({ code: 'ECONNRESET' });
});

test('what is no HTTP is an error', async () => {
  await using server = await startServer('SSH-2.0-OpenSSH_9.2\r\n');
  using client = clientOf(server.origin);
  await expect(client.ask(QUESTION, signal)).rejects.toMatchObject({
    code: 'bad-answer',
  });
});

test('a signal ends a request that waits for a connection, has one, or was not begun', async () => {
  await using server = await startServer('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf');
  using client = clientOf(server.origin, { connectionsMax: 1 });
  const controller = new AbortController();
  const both = [client.ask(QUESTION, controller.signal), client.ask(QUESTION, controller.signal)];
  await vi.waitFor(() => expect(server.sockets.size).toBe(1));
  controller.abort(new Error('enough'));
  const late = client.ask(QUESTION, controller.signal);
  for (const asked of [...both, late]) await expect(asked).rejects.toThrow('enough');
});

test('a signal that ends a request in the turn in which it was made ends it', async () => {
  await using server = await startServer(answerOf('never'));
  using client = clientOf(server.origin);
  const controller = new AbortController();
  const asked = client.ask(QUESTION, controller.signal);
  controller.abort(new Error('enough'));
  await expect(asked).rejects.toThrow('enough');
});

test('the answer to a HEAD has no body, whatever its length is said to be', async () => {
  await using server = await startServer('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n', answerOf('next'));
  using client = clientOf(server.origin);
  const reply = await client.ask({ ...QUESTION, method: 'HEAD' }, signal);
  expect(reply.headers.get('content-length')).toBe('10');
  expect(String((await client.ask(QUESTION, signal)).body)).toBe('next');
  expect(server.sockets.size).toBe(1);
});

test('a header that would end its line is refused, and nothing is sent', async () => {
  await using server = await startServer();
  using client = clientOf(server.origin);
  for (const headers of [{ a: 'x\r\nb: y' }, { 'a\n': 'x' }, { a: 'é' }])
    await expect(client.ask({ ...QUESTION, headers }, signal)).rejects.toMatchObject({ code: 'refused' });
  expect(server.sockets.size).toBe(0);
});

test('an answer longer than is wanted is not read to its end', async () => {
  await using server = await startServer(answerOf('x'.repeat(101)), answerOf('x'.repeat(100)));
  using client = clientOf(server.origin);
  expect(await client.ask(QUESTION, signal)).toMatchObject({ status: 200, body: undefined });
  expect((await client.ask(QUESTION, signal)).body).toHaveLength(100);
  expect(server.sockets.size).toBe(2);
});

test('what comes after a whole answer is no part of it, and not of the next one either', async () => {
  await using server = await startServer('HTTP/1.1 204 No Content\r\n\r\n{}', answerOf('next'));
  using client = clientOf(server.origin);
  expect(await client.ask(QUESTION, signal)).toMatchObject({ status: 204 });
  expect(String((await client.ask(QUESTION, signal)).body)).toBe('next');
  expect(server.sockets.size).toBe(2);
});
