import { once } from 'node:events';
import { type AddressInfo, type Socket, createServer } from 'node:net';

/** Answers each request with the bytes that are set, and closes. */
export async function byteServer() {
  let answer: Buffer = Buffer.alloc(0);
  let asked = 0;
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    asked++;
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    socket.once('data', () => socket.end(answer));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  // A server that listens on a TCP port has an AddressInfo.
  const { port } = server.address() as AddressInfo;
  return {
    origin: `http://127.0.0.1:${port}`,
    say: (bytes: Buffer) => void (answer = bytes),
    asked: () => asked,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

export function http(status: string, headers: readonly string[], body: string | Buffer): string {
  const lines = [`HTTP/1.1 ${status}`, ...headers, `content-length: ${Buffer.byteLength(body)}`];
  return `${lines.join('\r\n')}\r\n\r\n${body.toString('latin1')}`;
}
