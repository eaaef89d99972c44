import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, RequestListener } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { createServer as createRawServer } from 'node:net';
import { availableParallelism } from 'node:os';
import { DEFAULT_CIPHERS } from 'node:tls';

import { expect, test, vi } from 'vitest';

import { pattern } from '../support/file-tree.ts';
import { createSelfSigned } from '../support/tls.ts';
import { listening, senderTo, sendingThreads } from './sender-rig.ts';

const MIB = 1024 ** 2;

async function contentOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer); // No encoding is set.
  return Buffer.concat(chunks);
}

test('content arrives byte for byte over TLS, from shared memory and from a copy, on connections used again', async () => {
  const { cert, key } = createSelfSigned();
  const received = new Map<string, Buffer>();
  const ports = new Set<number | undefined>();
  const keep: RequestListener = (request, response) => {
    ports.add(request.socket.remotePort);
    void contentOf(request).then((content) => {
      received.set(request.url ?? '', content);
      response.writeHead(201, { etag: `"${content.length}"`, 'content-length': 0 }).end();
    });
  };
  await using server = await listening(createSecureServer({ cert, key }, keep));
  using client = senderTo(server.port, { ciphers: DEFAULT_CIPHERS, ca: cert });
  const content = pattern(3 * MIB + 5);
  const shared = new Uint8Array(new SharedArrayBuffer(4 * MIB)).subarray(0, content.length);
  shared.set(content);
  for (let round = 0; round < 3; round++) {
    const small = content.subarray(round, round + 1000);
    const answers = await Promise.all([
      client.put(`/shared-${round}`, shared),
      client.put(`/small-${round}`, small),
      client.put(`/empty-${round}`),
    ]);
    expect(answers.map(({ status, headers }) => [status, headers.get('etag')])).toEqual([
      [201, `"${content.length}"`],
      [201, '"1000"'],
      [201, '"0"'],
    ]);
    expect(received.get(`/shared-${round}`)?.equals(content)).toBe(true);
    expect(received.get(`/small-${round}`)?.equals(small)).toBe(true);
  }
  expect(ports.size).toBe(3);
});

test('a little goes by one thread, much at once by two, each of which answers its own', async () => {
  const keep: RequestListener = (request, response) => {
    void contentOf(request).then((content) => {
      response.writeHead(201, { etag: `${request.url} ${content.length}`, 'content-length': 0 }).end();
    });
  };
  await using server = await listening(createServer(keep));
  using client = senderTo(server.port);
  const put = async (number: number, bytes: number) => {
    const { headers } = await client.put(`/${number}`, new Uint8Array(new SharedArrayBuffer(bytes)));
    expect(headers.get('etag')).toBe(`/${number} ${bytes}`);
  };
  await Promise.all(Array.from({ length: 50 }, (_, number) => put(number, 64 * 1024)));
  expect(await sendingThreads()).toBe(1);
  await Promise.all(Array.from({ length: 5 }, (_, number) => put(number, 5 * MIB)));
  expect(await sendingThreads()).toBe(Math.min(2, availableParallelism()));
  client.sender.close();
  await vi.waitFor(async () => expect(await sendingThreads()).toBe(0));
});

test('a request by the second thread is aborted alone', async () => {
  const asked = new Set<string | undefined>();
  const both = Promise.withResolvers<void>();
  const aborted = Promise.withResolvers<void>();
  await using server = await listening(
    createServer((request, response) => {
      if (asked.add(request.url).size === 2) both.resolve();
      request.resume();
      if (request.url === '/first')
        void aborted.promise.then(() => response.writeHead(201, { 'content-length': 0 }).end());
    }),
  );
  using client = senderTo(server.port);
  const body = () => new Uint8Array(new SharedArrayBuffer(9 * MIB));
  const first = client.put('/first', body());
  const aborting = new AbortController();
  const second = client.put('/second', body(), aborting.signal);
  await both.promise;
  aborting.abort(new Error('enough'));
  await expect(second).rejects.toThrow('enough');
  aborted.resolve();
  expect(await first).toMatchObject({ status: 201 });
});

test('a certificate that nobody vouches for is refused before anything is sent', async () => {
  const { cert, key } = createSelfSigned();
  let requests = 0;
  await using server = await listening(createSecureServer({ cert, key }, () => void requests++));
  using client = senderTo(server.port, { ciphers: DEFAULT_CIPHERS });
  await expect(client.put('/x', Buffer.from('secret'))).rejects.toMatchObject({
    code: 'DEPTH_ZERO_SELF_SIGNED_CERT',
  });
  expect(requests).toBe(0);
});

test('an answer that comes before the content was sent is the answer, and the next request gets its own', async () => {
  const answer: RequestListener = (request, response) => {
    const status = request.url === '/busy' ? 503 : 201;
    response.writeHead(status, { 'content-length': 0 }).end();
  };
  await using server = await listening(createServer(answer));
  using client = senderTo(server.port);
  expect(await client.put('/busy', Buffer.alloc(64 * MIB))).toMatchObject({ status: 503 });
  expect(await client.put('/next')).toMatchObject({ status: 201 });
});

test('an abort rejects at once and closes the connection; other requests go on', async () => {
  let closed: Promise<unknown> | undefined;
  const asked = Promise.withResolvers<void>();
  const answer: RequestListener = (request, response) => {
    if (request.url !== '/stuck') return void response.writeHead(201, { 'content-length': 0 }).end();
    closed = once(request.socket, 'close');
    return asked.resolve();
  };
  await using server = await listening(createServer(answer));
  using client = senderTo(server.port);
  const controller = new AbortController();
  const stuck = client.put('/stuck', Buffer.alloc(10), controller.signal);
  await asked.promise;
  controller.abort(new Error('enough'));
  await expect(stuck).rejects.toThrow('enough');
  await closed;
  expect(await client.put('/next')).toMatchObject({ status: 201 });
  await expect(client.put('/x', undefined, controller.signal)).rejects.toThrow('enough');
});

test('a connection that is closed, refused, or speaks something else is told apart', async () => {
  const server = createRawServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', (chunk) => {
      if (chunk.toString().startsWith('PUT /closed')) socket.destroy();
      else socket.end('220 mail\r\n\r\n');
    });
  });
  const { port } = await (async () => {
    await using there = await listening(server);
    using client = senderTo(there.port);
    await expect(client.put('/closed')).rejects.toMatchObject({ code: 'ECONNRESET' });
    await expect(client.put('/other')).rejects.toMatchObject({ code: 'bad-answer' });
    return there;
  })();
  using client = senderTo(port);
  await expect(client.put('/refused')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
});

test('what is under way when the thread is ended is rejected, and the next request starts a new one', async () => {
  const asked = Promise.withResolvers<void>();
  const answer: RequestListener = (request, response) => {
    if (request.url === '/stuck') asked.resolve();
    else response.writeHead(201, { 'content-length': 0 }).end();
  };
  await using server = await listening(createServer(answer));
  using client = senderTo(server.port);
  const stuck = client.put('/stuck');
  void asked.promise.then(() => client.sender.close());
  await expect(stuck).rejects.toMatchObject({ code: 'ECONNABORTED' });
  expect(client.sender.isReady).toBe(false);
  expect(await client.put('/next')).toMatchObject({ status: 201 });
});

test('an aborted request is over only when its thread no longer sends from the memory', async () => {
  await using server = await listening(createRawServer());
  using peer = senderTo(server.port);
  const aborting = new AbortController();
  let isOver = false;
  const over = peer
    .put('/', new Uint8Array(new SharedArrayBuffer(8 * MIB)), aborting.signal)
    .catch((error: unknown) => {
      isOver = true;
      return error;
    });
  const reason = new Error('no longer wanted');
  aborting.abort(reason);
  // No answer of a thread comes before the next turn of the event loop.
  await Promise.resolve().then(() => undefined);
  expect(isOver).toBe(false);
  expect(await over).toBe(reason);
});
