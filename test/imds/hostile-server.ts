import { once } from 'node:events';
import { type AddressInfo, type Socket, createServer } from 'node:net';

import { EMPTY_DOCUMENT } from './support.ts';

/** What is done to a connection once a whole request has come in. */
export type Act = (socket: Socket) => void;

/** A metadata service that speaks bytes: good answers, but for what it is told. */
export interface HostileServer extends AsyncDisposable {
  readonly url: string;
  /** In place of the good answers to so many requests. */
  misbehave(act: Act, times: number): void;
  /** Requests that have come in. */
  requests(): number;
  connections(): number;
  /** Resolves when every connection that this side has ended is gone. */
  settled(): Promise<void>;
}

export async function startHostileServer(): Promise<HostileServer> {
  const open = new Map<Socket, Promise<void>>();
  let bad: { readonly act: Act; times: number } = { act: () => undefined, times: 0 };
  let requests = 0;
  const server = createServer({ noDelay: true }, (socket) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    open.set(socket, promise);
    let request = '';
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      open.delete(socket);
      resolve();
    });
    socket.on('data', (bytes) => {
      request += bytes.toString('latin1');
      if (!isWhole(request)) return;
      const method = request.slice(0, request.indexOf(' '));
      request = '';
      requests++;
      if (bad.times-- > 0) return bad.act(socket);
      socket.write(answer('200 OK', [], method === 'GET' ? EMPTY_DOCUMENT : ''));
    });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  // A server that listens on a TCP port has an AddressInfo.
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    misbehave: (act, times) => void (bad = { act, times }),
    requests: () => requests,
    connections: () => open.size,
    async settled() {
      await Promise.all([...open].filter(([socket]) => socket.writableEnded).map(([, closed]) => closed));
    },
    async [Symbol.asyncDispose]() {
      for (const socket of open.keys()) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

function isWhole(request: string): boolean {
  const end = request.indexOf('\r\n\r\n');
  const length = Number(/^content-length: (\d+)/im.exec(request)?.[1] ?? 0);
  return end !== -1 && request.length >= end + 4 + length;
}

/** The bytes of an answer; its length is added. */
export function answer(status: string, headers: readonly string[], body: string | Buffer): Buffer {
  const lines = [`HTTP/1.1 ${status}`, 'Date: Mon, 19 Sep 2016 18:29:47 GMT', ...headers];
  const head = [...lines, `Content-Length: ${Buffer.byteLength(body)}`].join('\r\n');
  return Buffer.concat([Buffer.from(`${head}\r\n\r\n`, 'latin1'), Buffer.from(body)]);
}

/** The same without a length: a head, and a body as it is. */
export function raw(head: readonly string[], body: string | Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`, 'latin1'), Buffer.from(body)]);
}
