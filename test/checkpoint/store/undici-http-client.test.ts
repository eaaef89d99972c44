import { getEventListeners, once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import {
  type AddressInfo,
  type Server as TcpServer,
  type Socket,
  createServer as createTcpServer,
} from 'node:net';
import type { TLSSocket } from 'node:tls';

import { BlockBlobClient, ContainerClient, newPipeline } from '@azure/storage-blob';
import { afterEach, expect, test, vi } from 'vitest';

import {
  createUndiciHttpClient,
  type UndiciHttpClient,
} from '../../../src/checkpoint/store/azure/undici-http-client.ts';
import { createSelfSigned } from '../../support/tls.ts';

const MIB = 1024 ** 2;
const CREATED = { etag: '"0x1"', 'x-ms-request-id': 'r', 'last-modified': 'Sat, 05 Sep 2026 11:30:59 GMT' };
const cleanUps: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

async function listening(server: TcpServer): Promise<number> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => sockets.add(socket));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanUps.push(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  // A server that listens on a TCP port has an AddressInfo.
  return (server.address() as AddressInfo).port;
}

/** A service that does what the test says, and the SDK's client of a blob there. */
async function service(respond: RequestListener, options: { connectionsMax?: number } = {}) {
  const sockets = new Set<Socket>();
  const server = createServer(respond);
  server.on('connection', (socket) => sockets.add(socket));
  const port = await listening(server);
  const opened = open({ origin: `http://127.0.0.1:${port}`, connectionsMax: 4, ...options });
  return { ...opened, server, sockets };
}

function open(options: Parameters<typeof createUndiciHttpClient>[0]) {
  const client: UndiciHttpClient = createUndiciHttpClient(options);
  cleanUps.push(() => client.close());
  const pipeline = newPipeline(undefined, { httpClient: client, retryOptions: { maxTries: 1 } });
  const container = `${options.origin}/account/container`;
  return {
    client,
    blob: new BlockBlobClient(`${container}/blob`, pipeline),
    container: new ContainerClient(container, pipeline),
  };
}

async function bodyOf(incoming: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  // No encoding is set, so chunks are buffers.
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

async function readAll(stream: NodeJS.ReadableStream | undefined): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream ?? []) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

test.each([0, 1, 512 * 1024, 512 * 1024 + 1, 3 * MIB + 7])(
  'a body of %i bytes arrives as it is, with its length',
  async (bytes) => {
    const seen: { body: Buffer; headers: IncomingMessage['headers'] }[] = [];
    const { blob } = await service((request, answer) => {
      void bodyOf(request).then((body) => {
        seen.push({ body, headers: request.headers });
        answer.writeHead(201, CREATED).end();
      });
    });
    const body = Buffer.from(Array.from({ length: bytes }, (_, index) => (index * 31) & 0xff));
    for (let times = 0; times < 2; times++) await blob.upload(body, bytes);
    for (const { body: received, headers } of seen) {
      expect(received.equals(body)).toBe(true);
      expect(headers['content-length']).toBe(String(bytes));
      expect(headers).not.toHaveProperty('transfer-encoding');
    }
    expect(seen).toHaveLength(2);
  },
);

test('a connection is used again, after a HEAD too', async () => {
  const { blob, sockets } = await service((request, answer) => {
    void bodyOf(request).then(() =>
      answer.writeHead(request.method === 'HEAD' ? 200 : 201, { ...CREATED, 'content-length': '0' }).end(),
    );
  });
  await blob.upload('x', 1);
  await blob.getProperties();
  await blob.upload('y', 1);
  expect(sockets.size).toBe(1);
});

test('no more connections are open than allowed; requests wait for one, and may be aborted while they do', async () => {
  const waiting: ServerResponse[] = [];
  const { blob, sockets } = await service((_, answer) => void waiting.push(answer), { connectionsMax: 2 });
  const controller = new AbortController();
  const firsts = [blob.upload('x', 1), blob.upload('x', 1)];
  const third = blob.upload('x', 1, { abortSignal: controller.signal });
  const fourth = blob.upload('x', 1);
  await vi.waitFor(() => expect(waiting).toHaveLength(2));
  controller.abort();
  await expect(third).rejects.toThrow(/abort/i);
  expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
  for (const answer of waiting.splice(0)) answer.writeHead(201, CREATED).end();
  await Promise.all(firsts);
  await vi.waitFor(() => expect(waiting).toHaveLength(1));
  waiting[0]?.writeHead(201, CREATED).end();
  await fourth;
  expect(sockets.size).toBe(2);
});

test('an abort closes the connection, in the middle of a body and before the answer', async () => {
  const requests: IncomingMessage[] = [];
  const { blob } = await service((request) => void requests.push(request));
  for (const bytes of [3, 64 * MIB]) {
    const controller = new AbortController();
    const upload = blob.upload(Buffer.alloc(bytes), bytes, { abortSignal: controller.signal });
    await vi.waitFor(() => expect(requests).toHaveLength(1));
    controller.abort(new Error('enough'));
    await expect(upload).rejects.toThrow(/enough|abort/);
    const [request] = requests.splice(0);
    // It would see the end only behind what it has not read.
    request?.resume().on('error', () => undefined);
    await vi.waitFor(() => expect(request?.socket.destroyed).toBe(true));
    expect(request?.complete).toBe(bytes === 3);
  }
});

test('an answer before the end of the body is the answer, and the next request has another connection', async () => {
  let isRefusing = true;
  const { blob } = await service((request, answer) => {
    if (isRefusing) {
      answer.writeHead(503, { 'x-ms-error-code': 'ServerBusy', 'content-length': '0' }).end();
      return;
    }
    void bodyOf(request).then(() => answer.writeHead(201, CREATED).end());
  });
  await expect(blob.upload(Buffer.alloc(32 * MIB), 32 * MIB)).rejects.toMatchObject({ statusCode: 503 });
  isRefusing = false;
  await expect(blob.upload(Buffer.alloc(MIB), MIB)).resolves.toMatchObject({ requestId: 'r' });
});

test('downloads come as one piece of memory of their own, other answers as text', async () => {
  const content = Buffer.alloc(2 * MIB, 'content');
  const { blob, container } = await service((request, answer) => {
    if (request.url?.includes('comp=list') === true) {
      answer.writeHead(200, { 'content-type': 'application/xml', date: 'Sat, 05 Sep 2026 11:30:59 GMT' });
      answer.write(
        '\ufeff<?xml version="1.0"?><EnumerationResults ServiceEndpoint="x" ContainerName="x"><Blobs />',
      );
      setImmediate(() => answer.end('<NextMarker /></EnumerationResults>'));
      return;
    }
    answer.writeHead(200, { ...CREATED, 'content-length': String(content.length) });
    answer.write(content.subarray(0, 1000));
    setImmediate(() => answer.end(content.subarray(1000)));
  });
  const download = await blob.download();
  const chunks: Buffer[] = [];
  for await (const chunk of download.readableStreamBody ?? []) chunks.push(chunk as Buffer);
  expect(chunks).toHaveLength(1);
  expect(chunks[0]?.equals(content)).toBe(true);
  expect(chunks[0]?.buffer.byteLength).toBe(content.length);
  const pages = container.listBlobsFlat().byPage();
  expect(await pages.next()).toMatchObject({ value: { segment: { blobItems: [] } } });
});

test.each([
  ['closed', (socket: Socket) => void socket.end()],
  ['reset', (socket: Socket) => void socket.resetAndDestroy()],
])('an answer that is cut off (%s) is an error with a code', async (_, cut) => {
  const { blob } = await service((_request, answer) => {
    answer.writeHead(200, { ...CREATED, 'content-length': '1000' });
    answer.write('x'.repeat(500), () => {
      if (answer.socket !== null) cut(answer.socket);
    });
  });
  await expect(
    blob.download().then(({ readableStreamBody }) => readAll(readableStreamBody)),
  ).rejects.toMatchObject({
    code: expect.stringMatching(/^(?:UND_ERR_SOCKET|ECONNRESET|UND_ERR_RES_CONTENT_LENGTH_MISMATCH)$/),
  });
});

test('what is no HTTP is an error of the parser', async () => {
  const server = createTcpServer((socket) => void socket.end('SSH-2.0-OpenSSH_9.9\r\n'));
  const port = await listening(server);
  const { blob } = open({ origin: `http://127.0.0.1:${port}`, connectionsMax: 1 });
  await expect(blob.upload('x', 1)).rejects.toMatchObject({ name: 'HTTPParserError' });
});

/** A service that answers each request with this text and then goes on with `more`, as fast as it is read. */
async function endless(start: string, more: string) {
  const part = more.repeat(Math.ceil((64 * 1024) / more.length));
  const sockets = new Set<Socket>();
  const server = createTcpServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('data', () => {
      socket.write(start);
      const go = () => {
        heapMax = Math.max(heapMax, process.memoryUsage().heapUsed);
        while (!socket.destroyed && socket.write(part));
      };
      socket.on('drain', go);
      go();
    });
  });
  const port = await listening(server);
  const heapBefore = process.memoryUsage().heapUsed;
  let heapMax = 0;
  const heapGrown = () => heapMax - heapBefore;
  const sent = () => [...sockets].reduce((bytes, socket) => bytes + socket.bytesWritten, 0);
  return { ...open({ origin: `http://127.0.0.1:${port}`, connectionsMax: 1 }), sent, heapGrown };
}

const OK = 'HTTP/1.1 200 OK\r\n';
const CHUNKED = 'transfer-encoding: chunked\r\n\r\n';

test.each([
  ['heads that announce one', '', 'HTTP/1.1 103 Early Hints\r\n\r\n', 1],
  ['a listing', `${OK}content-type: application/xml\r\n\r\n`, '<Blob><Name>a</Name></Blob>', 17],
  ['chunks of a byte', `${OK}${CHUNKED}`, '1\r\nx\r\n', 17 * 6],
  ['trailers', `${OK}${CHUNKED}0\r\n`, 'x: y\r\n', 1],
  ['empty lines before it', '', '\r\n', 129],
])('an answer with endless %s is given up', async (_, start, more, mibMax) => {
  const { container, sent, heapGrown } = await endless(start, more);
  const abortSignal = AbortSignal.timeout(60_000);
  await expect(container.listBlobsFlat({ abortSignal }).byPage().next()).rejects.toMatchObject({
    code: expect.stringMatching(/^(?:bad-answer|too-large|UND_ERR_HEADERS_OVERFLOW)$/),
  });
  // What fits in the socket buffers of both sides may be on its way.
  expect(sent()).toBeLessThan((mibMax + 16) * MIB);
  // Many times as much, were each piece kept by itself.
  expect(heapGrown()).toBeLessThan(200 * MIB);
});

test('an error without an end is the error that its status says', async () => {
  const { blob, sent } = await endless('HTTP/1.1 503 Busy\r\n\r\n', '<Error>');
  await expect(blob.upload('x', 1, { abortSignal: AbortSignal.timeout(60_000) })).rejects.toMatchObject({
    statusCode: 503,
  });
  expect(sent()).toBeLessThan(17 * MIB);
});

test('a download is no longer than the range that was asked for', async () => {
  const head = { ...CREATED, 'content-length': '100' };
  const { blob } = await service((_, answer) => void answer.writeHead(200, head).end('x'.repeat(100)));
  const inRange = await blob.download(50, 100);
  expect(await readAll(inRange.readableStreamBody)).toHaveLength(100);
  await expect(blob.download(50, 99)).rejects.toMatchObject({ code: 'too-large' });
});

test('over TLS: the authority that is given, AES-128 first, HTTP/1.1, and sessions are taken up again', async () => {
  const { cert, key } = createSelfSigned();
  const seen: { cipher: string; isResumed: boolean; protocol: string | false | null }[] = [];
  const server = createTlsServer({ cert, key, honorCipherOrder: false }, (request, answer) => {
    void bodyOf(request).then(() => answer.writeHead(201, { ...CREATED, connection: 'close' }).end());
  });
  server.on('secureConnection', (socket: TLSSocket) =>
    seen.push({
      cipher: socket.getCipher().name,
      isResumed: socket.isSessionReused(),
      protocol: socket.alpnProtocol,
    }),
  );
  const port = await listening(server);
  const { blob } = open({ origin: `https://127.0.0.1:${port}`, connectionsMax: 1, ca: cert });
  for (let times = 0; times < 3; times++) await blob.upload('x', 1);
  expect(seen.map(({ cipher }) => cipher)).toEqual(seen.map(() => 'TLS_AES_128_GCM_SHA256'));
  expect(seen.map(({ isResumed }) => isResumed)).toEqual([false, true, true]);
  expect(seen.map(({ protocol }) => protocol)).toEqual(seen.map(() => 'http/1.1'));
  const stranger = open({ origin: `https://127.0.0.1:${port}`, connectionsMax: 1 });
  await expect(stranger.blob.upload('x', 1)).rejects.toMatchObject({ code: 'DEPTH_ZERO_SELF_SIGNED_CERT' });
});
