import { once } from 'node:events';
import { type AddressInfo, type Socket, createServer } from 'node:net';

import { expect, test, vi } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import { type HttpClientOptions, createHttpClient } from '../../src/base/http.ts';

const { signal } = new AbortController();
const QUESTION = { method: 'GET', path: '/', headers: {} } as const;
const OK = 'HTTP/1.1 200 OK\r\n';

/** Answers each request on a connection with the next of these texts, as it is; `undefined` closes it instead. */
async function startServer(...answers: readonly (string | undefined)[]) {
  let next = 0;
  return startByteServer((socket) => {
    const answer = answers[next++];
    if (answer === undefined) socket.destroy();
    else socket.write(answer);
  });
}

async function startByteServer(onRequest: (socket: Socket) => void) {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('data', () => onRequest(socket));
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
    { origin, connectionsMax: 2, connectMs: 5000, idleMs: 5000, bodyBytesMax: 100, ...options },
    { clock: systemClock },
  );
  return { ...client, [Symbol.asyncDispose]: () => client.close() };
}

function answerOf(body: string): string {
  return `${OK}content-length: ${body.length}\r\n\r\n${body}`;
}

test('an answer in chunks is read, and its connection is used again', async () => {
  const chunked = `${OK}transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n`;
  await using server = await startServer(chunked, answerOf('again'));
  await using client = clientOf(server.origin, { connectionsMax: 1 });
  expect(String((await client.ask(QUESTION, signal)).body)).toBe('abcde');
  expect(String((await client.ask(QUESTION, signal)).body)).toBe('again');
  expect(server.sockets.size).toBe(1);
});

test('the moment of the headers is that of the answer, not of what announces it or follows', async () => {
  await using server = await startByteServer((socket) => {
    socket.write('HTTP/1.1 103 Early Hints\r\n\r\n');
    void hinted.promise.then(() => socket.write(`${OK}content-length: 2\r\n\r\n1`));
    void started.promise.then(() => socket.write('2'));
  });
  const hinted = Promise.withResolvers<void>();
  const started = Promise.withResolvers<void>();
  let now = 0;
  const clock = { ...systemClock, monotonicMs: () => (started.resolve(), ++now) };
  const options = {
    origin: server.origin,
    connectionsMax: 1,
    connectMs: 5000,
    idleMs: 5000,
    bodyBytesMax: 9,
  };
  const client = createHttpClient(options, { clock });
  const asked = client.ask(QUESTION, signal);
  await vi.waitFor(() => expect(server.sockets.size).toBe(1));
  now = 100;
  hinted.resolve();
  expect(await asked).toMatchObject({ status: 200, headersAt: 101 });
  await client.close();
});

test('a connection that the server closes as the next request comes is an error, and the one after it is good', async () => {
  await using server = await startServer(answerOf('1'), undefined, answerOf('2'));
  await using client = clientOf(server.origin);
  await client.ask(QUESTION, signal);
  await expect(client.ask(QUESTION, signal)).rejects.toMatchObject({ code: 'ECONNRESET' });
  expect(String((await client.ask(QUESTION, signal)).body)).toBe('2');
});

test('an answer that ends before its end is an error', async () => {
  await using server = await startServer(`${OK}content-length: 10\r\n\r\nhalf`);
  await using client = clientOf(server.origin);
  const asked = client.ask(QUESTION, signal);
  await vi.waitFor(() => expect(server.sockets.size).toBe(1));
  for (const socket of server.sockets) socket.end();
  await expect(asked).rejects.toMatchObject({ code: 'ECONNRESET' });
});

test('what is no HTTP is an error', async () => {
  await using server = await startServer('SSH-2.0-OpenSSH_9.2\r\n');
  await using client = clientOf(server.origin);
  await expect(client.ask(QUESTION, signal)).rejects.toMatchObject({ code: 'bad-answer' });
});

test('a signal ends a request that waits for a connection, has one, or was not begun', async () => {
  await using server = await startServer(`${OK}content-length: 9\r\n\r\nhalf`, answerOf('whole'));
  await using client = clientOf(server.origin, { connectionsMax: 1 });
  const controller = new AbortController();
  const both = [client.ask(QUESTION, controller.signal), client.ask(QUESTION, controller.signal)];
  await vi.waitFor(() => expect(server.sockets.size).toBe(1));
  const [first] = server.sockets;
  controller.abort(new Error('enough'));
  const late = client.ask(QUESTION, controller.signal);
  for (const asked of [...both, late]) await expect(asked).rejects.toThrow('enough');
  await vi.waitFor(() => expect(first?.closed).toBe(true));
  expect(String((await client.ask(QUESTION, signal)).body)).toBe('whole');
});

test('a signal that ends a request in the turn in which it was made ends it, and nothing is sent', async () => {
  await using server = await startServer(answerOf('never'));
  await using client = clientOf(server.origin, { connectionsMax: 1 });
  const controller = new AbortController();
  const asked = client.ask(QUESTION, controller.signal);
  controller.abort(new Error('enough'));
  await expect(asked).rejects.toThrow('enough');
  // Were the first one still on its way, it would get the only answer.
  expect(String((await client.ask(QUESTION, signal)).body)).toBe('never');
});

test('no more connections are opened than are allowed', async () => {
  const waiting: Socket[] = [];
  await using server = await startByteServer((socket) => void waiting.push(socket));
  await using client = clientOf(server.origin, { connectionsMax: 2 });
  const all = Promise.all([1, 2, 3].map(() => client.ask(QUESTION, signal)));
  await vi.waitFor(() => expect(waiting).toHaveLength(2));
  for (let answered = 0; answered < 3; answered++) {
    await vi.waitFor(() => expect(waiting.length).toBeGreaterThan(answered));
    waiting[answered]?.write(answerOf('1'));
  }
  expect(await all).toHaveLength(3);
  expect(server.sockets.size).toBe(2);
});

test('an answer longer than is wanted is not read to its end', async () => {
  await using server = await startServer(answerOf('x'.repeat(101)), answerOf('x'.repeat(100)));
  await using client = clientOf(server.origin);
  expect(await client.ask(QUESTION, signal)).toMatchObject({ status: 200, body: undefined });
  expect((await client.ask(QUESTION, signal)).body).toHaveLength(100);
  expect(server.sockets.size).toBe(2);
});

test('what comes after a whole answer is no part of it, and not of the next one either', async () => {
  await using server = await startServer('HTTP/1.1 204 No Content\r\n\r\n{}', answerOf('next'));
  await using client = clientOf(server.origin);
  expect(await client.ask(QUESTION, signal)).toMatchObject({ status: 204 });
  expect(String((await client.ask(QUESTION, signal)).body)).toBe('next');
  expect(server.sockets.size).toBe(2);
});

test.each([
  ['heads that announce one', '', 'HTTP/1.1 103 Early Hints\r\n\r\n'],
  ['empty lines before it', '', '\r\n'],
  ['a status without an end', 'HTTP/1.1 200 ', 'OK'],
  ['headers', OK, 'x: y\r\n'],
  ['headers without a value', OK, 'x:\r\n'],
  ['extensions of a chunk', `${OK}transfer-encoding: chunked\r\n\r\n1;`, 'a=b;'],
  ['chunks of a byte', `${OK}transfer-encoding: chunked\r\n\r\n`, '1;abcdefghijk=lmnopqrstuvwxyz\r\nx\r\n'],
  ['trailers', `${OK}transfer-encoding: chunked\r\n\r\n0\r\n`, 'x: y\r\n'],
])('an answer with endless %s is given up soon', async (_, start, more) => {
  const part = more.repeat(1000);
  await using server = await startByteServer((socket) => {
    socket.write(start);
    const go = () => {
      while (!socket.destroyed && socket.write(part));
    };
    socket.on('drain', go);
    go();
  });
  await using client = clientOf(server.origin, { bodyBytesMax: 1024 ** 2 });
  await expect(client.ask(QUESTION, AbortSignal.timeout(20_000))).rejects.toMatchObject({
    code: 'bad-answer',
  });
  const [socket] = server.sockets;
  // What fits in the socket buffers of both sides may be on its way; an endless answer would be far beyond.
  expect(socket?.bytesWritten).toBeLessThan(16 * 1024 ** 2);
});
