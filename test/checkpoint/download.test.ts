import { once } from 'node:events';
import { type FileHandle, open, readFile } from 'node:fs/promises';
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { systemClock } from '../../src/base/clock.ts';
import { createAzureBlobStore } from '../../src/checkpoint/azure-store.ts';
import { blockIdOf, newHashKey } from '../../src/checkpoint/block-id.ts';
import { createReader } from '../../src/checkpoint/reader.ts';
import { never } from '../support/checkpoints.ts';
import { pattern, testFolder } from '../support/file-tree.ts';
import { createSelfSigned } from '../support/tls.ts';

const KIB = 1024;
/** Not a multiple of anything that is read or hashed at once. */
const FIRST = pattern(700 * KIB + 1, 1);
const HASH_KEY = newHashKey();
const BLOCKS = [FIRST, pattern(700 * KIB + 1, 2), pattern(3, 3)];
const CONTENT = Buffer.concat(BLOCKS);
const GOOD_HEAD = `HTTP/1.1 206 Partial Content\r\nx-ms-request-id: 1\r\nContent-Length: ${CONTENT.length}\r\n\r\n`;
const LIMITS = { tryTimeoutMs: 6000, triesMax: 3, firstDelayMs: 1, delayMsMax: 2 };

type Answer = (socket: Socket, request: string) => void;

const good: Answer = (socket) => socket.write(Buffer.concat([Buffer.from(GOOD_HEAD), CONTENT]));

/** A server that answers its n-th request as it is told, and later ones as the last; a store on it, and a file. */
async function rig(answers: readonly Answer[], options: { readonly secure?: boolean } = {}) {
  await using stack = new AsyncDisposableStack();
  const requests: string[] = [];
  const sockets = new Set<Socket>();
  const onSocket = (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('data', (data) => {
      requests.push(data.toString('latin1'));
      answers[Math.min(requests.length, answers.length) - 1]?.(socket, data.toString('latin1'));
    });
  };
  const { cert, key } = createSelfSigned();
  const server: Server =
    options.secure === true ? createTlsServer({ cert, key }, onSocket) : createTcpServer(onSocket);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  stack.defer(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  // Of a TCP server, so it is no path.
  const { port } = server.address() as AddressInfo;
  const url = `${options.secure === true ? 'https' : 'http'}://127.0.0.1:${port}/devstoreaccount1/container`;
  const ca = options.secure === true ? { ca: cert } : {};
  const store = await createAzureBlobStore({ url, auth: { kind: 'azurite' }, limits: LIMITS, ...ca });
  stack.defer(() => store.stop());
  const reader = createReader({ clock: systemClock });
  stack.defer(() => reader.close());
  const folder = stack.use(await testFolder());
  const file = join(folder.path, 'file');
  const handle: FileHandle = stack.use(await open(file, 'w+'));
  const owned = stack.move();
  const place = {
    snapshot: '2026-01-01T00:00:00.0000000Z',
    offset: 0,
    fd: handle.fd,
    blocks: BLOCKS.map((block) => blockIdOf(block, HASH_KEY)),
    lengths: BLOCKS.map(({ length }) => length),
    hashKey: HASH_KEY,
    reader,
  };
  return {
    requests,
    connections: () => sockets.size,
    content: () => readFile(file),
    download: (signal = never(), more: Partial<typeof place> = {}) =>
      store.download('job/files/a b', { ...place, ...more }, signal),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

test.each([false, true])(
  'content lands in its file and one connection serves one request after the other (TLS: %s)',
  async (secure) => {
    await using server = await rig([good], { secure });
    expect(await server.download()).toBeUndefined();
    expect(await server.download()).toBeUndefined();
    expect((await server.content()).equals(CONTENT)).toBe(true);
    expect(server.connections()).toBe(1);
    expect(server.requests[0]).toMatch(
      /^GET \/devstoreaccount1\/container\/job\/files\/a%20b\?snapshot=2026-01-01T00%3A00%3A00.0000000Z HTTP\/1.1\r\nhost: 127/,
    );
    expect(server.requests[0]).toContain(`\r\nx-ms-range: bytes=0-${CONTENT.length - 1}\r\n`);
  },
);

test('a certificate of somebody else is refused', async () => {
  await using server = await rig([good], { secure: true });
  const { cert } = createSelfSigned();
  const port = /127\.0\.0\.1:(\d+)/.exec((await server.download(), server.requests[0] ?? ''))?.[1];
  const url = `https://127.0.0.1:${port}/devstoreaccount1/container`;
  const store = await createAzureBlobStore({ url, auth: { kind: 'azurite' }, limits: LIMITS, ca: cert });
  const reader = createReader({ clock: systemClock });
  const place = { snapshot: 'x', offset: 0, fd: 0, blocks: [''], lengths: [1], hashKey: HASH_KEY, reader };
  await expect(store.download('a', place, never())).rejects.toMatchObject({
    code: 'network',
    remedy: expect.stringContaining('certificate'),
  });
  expect(server.requests).toHaveLength(1);
  reader.close();
  store.stop();
});

test('an answer in pieces of any size is taken in, wherever it is cut', async () => {
  const whole = Buffer.concat([Buffer.from(GOOD_HEAD), CONTENT]);
  const inPieces: Answer = (socket) => {
    socket.setNoDelay(true);
    let at = 0;
    const next = () => {
      // Through the head byte by byte, then faster and faster.
      const end = at < 120 ? at + 1 : at * 2;
      socket.write(whole.subarray(at, end), () => setImmediate(next));
      at = end;
    };
    next();
  };
  await using server = await rig([inPieces]);
  expect(await server.download()).toBeUndefined();
  expect((await server.content()).equals(CONTENT)).toBe(true);
});

const half = CONTENT.subarray(0, CONTENT.length / 2);
test.each<[string, Answer]>([
  [
    'reset in the middle',
    (socket) => socket.write(Buffer.concat([Buffer.from(GOOD_HEAD), half]), () => socket.resetAndDestroy()),
  ],
  ['closed in the middle', (socket) => socket.end(Buffer.concat([Buffer.from(GOOD_HEAD), half]))],
  ['closed in the head', (socket) => socket.end('HTTP/1.1 206 Par')],
  ['closed without a word', (socket) => socket.end()],
  ['that is no HTTP', (socket) => socket.write('SSH-2.0-OpenSSH_9.2\r\n\r\n')],
  [
    'with a head that never ends',
    (socket) => socket.write(`HTTP/1.1 200 OK\r\n${'x: y\r\n'.repeat(10_000)}`),
  ],
  ['of a portal', (socket) => socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${CONTENT.length}\r\n\r\n`)],
  [
    'without a length',
    (socket) => socket.write('HTTP/1.1 200 OK\r\nx-ms-request-id: 1\r\nTransfer-Encoding: chunked\r\n\r\n'),
  ],
  ['that is longer than asked for', (socket) => socket.write(GOOD_HEAD.replace('Length: ', 'Length: 1'))],
  [
    'with 503',
    (socket) =>
      socket.write(
        'HTTP/1.1 503 Busy\r\nx-ms-error-code: ServerBusy\r\nRetry-After: 0\r\nContent-Length: 9\r\n\r\n',
      ),
  ],
])('after an answer %s, it is asked again on another connection', async (_name, bad) => {
  await using server = await rig([bad, good]);
  expect(await server.download()).toBeUndefined();
  expect((await server.content()).equals(CONTENT)).toBe(true);
  expect(server.connections()).toBe(2);
});

test('a server that stalls is left after the time of a try, and asked again', async () => {
  await using server = await rig([
    (socket) => socket.write(Buffer.concat([Buffer.from(GOOD_HEAD), half])),
    good,
  ]);
  expect(await server.download()).toBeUndefined();
  expect((await server.content()).equals(CONTENT)).toBe(true);
});

test('an abort ends it, and then nothing writes to the file any more', async () => {
  const abort = new AbortController();
  const closed = Promise.withResolvers<void>();
  const feed: Answer = (socket) => {
    socket.on('close', () => closed.resolve());
    socket.write(GOOD_HEAD, () => abort.abort());
  };
  await using server = await rig([feed]);
  await expect(server.download(abort.signal)).rejects.toMatchObject({ code: 'aborted' });
  await closed.promise;
  expect(await server.content()).toHaveLength(0);
});

test.each<[string, number, Answer]>([
  [
    'of which one byte is wrong',
    1,
    (socket) => {
      const changed = Buffer.from(CONTENT);
      changed[FIRST.length + 5] = 1 + (changed[FIRST.length + 5] ?? 0);
      socket.write(Buffer.concat([Buffer.from(GOOD_HEAD), changed]));
    },
  ],
  [
    'that is shorter',
    0,
    (socket) => socket.write('HTTP/1.1 206 P\r\nx-ms-request-id: 1\r\nContent-Length: 4\r\n\r\nabcd'),
  ],
  [
    'that ends before the range',
    0,
    (socket) => socket.write('HTTP/1.1 416 R\r\nx-ms-error-code: InvalidRange\r\nContent-Length: 0\r\n\r\n'),
  ],
])('content %s is told by its block, and not asked for again', async (_name, wrong, answer) => {
  await using server = await rig([answer]);
  expect(await server.download()).toBe(wrong);
  expect(server.requests).toHaveLength(1);
});

test.each([
  ['HTTP/1.1 404 Not Found\r\nx-ms-error-code: BlobNotFound\r\nContent-Length: 0\r\n\r\n', 'not-found'],
  [
    'HTTP/1.1 403 Forbidden\r\nx-ms-error-code: AuthorizationPermissionMismatch\r\nContent-Length: 0\r\n\r\n',
    'forbidden',
  ],
])('a refusal has the code of any other request', async (answer, code) => {
  await using server = await rig([(socket) => socket.write(answer)]);
  await expect(server.download()).rejects.toMatchObject({ code });
  expect(server.requests).toHaveLength(1);
});

test("a file that can't be written to fails with the system's error, at once", async () => {
  await using server = await rig([good]);
  await using readOnly = await open('/dev/full', 'w');
  await expect(server.download(never(), { fd: readOnly.fd })).rejects.toMatchObject({ code: 'ENOSPC' });
  expect(server.requests).toHaveLength(1);
});
