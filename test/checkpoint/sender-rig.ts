import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import type { Server } from 'node:http';
import type { AddressInfo, Server as RawServer } from 'node:net';

import { systemClock } from '../../src/base/clock.ts';
import { createHttpSender } from '../../src/checkpoint/http-sender.ts';
import { never } from '../support/checkpoints.ts';

export async function listening(server: Server | RawServer) {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  // A TCP server has no other kind of address.
  const { port } = server.address() as AddressInfo;
  return {
    port,
    async [Symbol.asyncDispose]() {
      if ('closeAllConnections' in server) server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

export function senderTo(
  port: number,
  tls?: { readonly ciphers: string; readonly ca?: string },
  connectionsMax = 136,
) {
  const origin = {
    host: '127.0.0.1',
    port,
    connectMs: 5000,
    idleMs: 5000,
    ...(tls !== undefined && { tls }),
  };
  const sender = createHttpSender({ origin, connectionsMax, headersRead: ['etag'] }, { clock: systemClock });
  return {
    sender,
    put: (path: string, body?: Uint8Array, signal = never()) =>
      sender.send({ head: putHead(path, body), body }, signal),
    putBoth: (path: string, body: Uint8Array, next: string) =>
      sender.send({ head: putHead(path, body), body, next: putHead(next) }, never()),
    [Symbol.dispose]: () => sender.close(),
  };
}

export function putHead(path: string, body?: Uint8Array): string {
  return `PUT ${path} HTTP/1.1\r\nhost: x\r\ncontent-length: ${body?.length ?? 0}\r\n\r\n`;
}

/** Of this process, by the names that they have for the system. */
export async function sendingThreads(): Promise<number> {
  const tasks = await readdir('/proc/self/task');
  const names = await Promise.all(
    tasks.map((task) => readFile(`/proc/self/task/${task}/comm`, 'utf8').catch(() => '')),
  );
  return names.filter((name) => name.startsWith('evictd-send')).length;
}
