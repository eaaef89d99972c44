/**
 * The part of a reading thread that fetches: request, TLS, hash and write in one place, so that content never moves
 * between threads. Plain HTTP/1.1 without a library: only GET, only answers that say their length, and decrypted bytes
 * land where they are hashed and written from. By undici the same took twice the CPU.
 */
import type { Socket, SocketConstructorOpts, TcpNetConnectOpts } from 'node:net';
import type { ConnectionOptions } from 'node:tls';

import { parseHead } from '../base/http-answer.ts';
import type { HttpAnswer } from '../base/http-order.ts';
import { createPlacer } from './restore-thread.ts';
import type { Placer } from './restore-thread.ts';
import type { FetchJob, FetchResult } from './read-job.ts';

/** As Node has it. */
const HEAD_BYTES_MAX = 16 * 1024;

/*
 * INVARIANTS
 * - A job is answered exactly once, and its file isn't touched any more from then on.
 * - A connection is used again only when its last answer was taken in to its end, and no byte more has come.
 */
export interface Fetcher {
  start(order: number, job: FetchJob, answer: (result: FetchResult) => void): void;
  /** Breaks it off, if it is still under way; it is answered as a broken connection. */
  cancel(order: number): void;
}

interface Exchange {
  readonly job: FetchJob;
  readonly order: number;
  readonly answer: (result: FetchResult) => void;
  /** Of the head; then the content has the rest. */
  headBytes: number;
  placer: Placer | undefined;
}

interface Receiving {
  readonly head: Buffer;
  exchange: Exchange | undefined;
}

interface Connection extends Receiving {
  readonly server: string;
  readonly socket: Socket;
}

export function createFetcher(): Fetcher {
  const connections = new Set<Connection>();

  const close = (connection: Connection, result: FetchResult) => {
    const { exchange } = connection;
    connection.exchange = undefined;
    connections.delete(connection);
    connection.socket.destroy();
    exchange?.answer(result);
  };
  const connect = (job: FetchJob): Connection => {
    let errno = 'ECONNRESET';
    const receiving: Receiving = { head: Buffer.allocUnsafeSlow(HEAD_BYTES_MAX), exchange: undefined };
    const socket = openSocket(job, {
      // Asked for the first time before there is a socket.
      buffer: () => spaceOf(receiving),
      callback(bytes: number) {
        take(receiving, bytes, (result) => close(connection, result));
        return true;
      },
    });
    const connection: Connection = Object.assign(receiving, { server: serverKey(job), socket });
    connections.add(connection);
    // Where reading is by `onread`, only a stream that flows tells that the other side has ended.
    socket.resume();
    socket.on('error', (error: NodeJS.ErrnoException) => (errno = error.code ?? errno));
    socket.on('close', () => close(connection, broken(errno)));
    return connection;
  };

  return {
    start(order, job, answer) {
      const server = serverKey(job);
      const idle = [...connections].find((one) => one.exchange === undefined && one.server === server);
      const connection = idle ?? connect(job);
      connection.exchange = { job, order, answer, headBytes: 0, placer: undefined };
      connection.socket.write(job.request, 'latin1');
    },
    cancel(order) {
      for (const connection of connections)
        if (connection.exchange?.order === order) close(connection, broken('ECONNABORTED'));
    },
  };
}

function serverKey({ host, port, tls }: FetchJob): string {
  return `${tls === undefined ? 'http' : 'https'}://${host}:${port}`;
}

function broken(errno: string): FetchResult {
  return { kind: 'broken', errno };
}

function openSocket({ host, port, tls }: FetchJob, onread: SocketConstructorOpts['onread']): Socket {
  // Loaded by the first fetch: a thread that only reads files does without.
  const net = process.getBuiltinModule('node:net');
  const options: TcpNetConnectOpts & SocketConstructorOpts = {
    host,
    port,
    noDelay: true,
    ...(onread && { onread }),
  };
  if (tls === undefined) return net.connect(options);
  const secure: ConnectionOptions = { ...options, ...tls, ...(net.isIP(host) === 0 && { servername: host }) };
  return process.getBuiltinModule('node:tls').connect(secure);
}

/** Where the next bytes of a connection go. */
function spaceOf({ exchange, head }: Receiving): Uint8Array {
  if (exchange?.placer !== undefined && exchange.placer.left > 0) return exchange.placer.space();
  return head.subarray(exchange?.headBytes ?? 0);
}

/** Takes in what has come. `close` ends the connection with an answer; without, it is left to the next job. */
function take(receiving: Receiving, bytes: number, close: (result: FetchResult) => void): void {
  const { exchange } = receiving;
  // Nobody has asked for anything.
  if (exchange === undefined) return close(broken('ECONNRESET'));
  try {
    if (exchange.placer === undefined) takeHead(exchange, receiving.head, bytes, close);
    else exchange.placer.placed(bytes);
    const { placer } = exchange;
    if (receiving.exchange === undefined || placer === undefined) return undefined;
    if (placer.wrong !== undefined) return close({ kind: 'fetched', wrong: placer.wrong });
    if (placer.left > 0) return undefined;
    receiving.exchange = undefined;
    return exchange.answer({ kind: 'fetched', wrong: undefined });
  } catch (error) {
    // Only writing to the file throws here, and its errors have a code.
    const { code = 'unknown', message } = error as NodeJS.ErrnoException;
    return close({ kind: 'failed', errno: code, message });
  }
}

function takeHead(
  exchange: Exchange,
  head: Buffer,
  bytes: number,
  close: (result: FetchResult) => void,
): void {
  exchange.headBytes += bytes;
  const end = head.subarray(0, exchange.headBytes).indexOf('\r\n\r\n');
  if (end === -1) {
    if (exchange.headBytes === HEAD_BYTES_MAX) close(broken('HPE_HEADER_OVERFLOW'));
    return;
  }
  const answer = parseHead(head.toString('latin1', 0, end));
  const first = head.subarray(end + 4, exchange.headBytes);
  const { job } = exchange;
  if (answer === undefined || first.length > job.bytes) return close(broken('HPE_INVALID_CONSTANT'));
  if (!isWanted(job, answer)) {
    const { status, headers } = answer;
    return close({ kind: 'refused', status, headers });
  }
  exchange.placer = createPlacer(job);
  for (let at = 0; at < first.length;) {
    const count = first.copy(exchange.placer.space(), 0, at);
    exchange.placer.placed(count);
    at += count;
  }
}

/** The answer that carries just the range; what is wrong with any other is for the asker to say. */
function isWanted({ bytes, wantsHeader }: FetchJob, { status, headers }: HttpAnswer): boolean {
  const isWhole = headers.get('content-length') === String(bytes) && !headers.has('transfer-encoding');
  return status >= 200 && status < 300 && isWhole && headers.has(wantsHeader);
}
